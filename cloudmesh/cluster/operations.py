"""The verbs of `cms cluster` for scripts: each finds the cluster by its name, and lets its provider do the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from cloudmesh.cluster import finder, names
from cloudmesh.cluster.api import Accepted
from cloudmesh.cluster.blueprint import check_servers
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ClusterError, UsageError
from cloudmesh.cluster.finder import Membership
from cloudmesh.cluster.findings import Finding
from cloudmesh.cluster.following import Output
from cloudmesh.cluster.hosts import local
from cloudmesh.cluster.jobs.model import Job
from cloudmesh.cluster.jobs.native import NativeJob
from cloudmesh.cluster.model import Cluster, Host, JobStatus, Report
from cloudmesh.cluster.provider import Provider
from cloudmesh.cluster.workload import Workload

# A third engine is one package more, and one line here.
PROVIDERS = {
    "nomad": "cloudmesh.cluster.nomad.provider:NomadProvider",
    "kubernetes": "cloudmesh.cluster.kubernetes.provider:KubernetesProvider",
}
_ALIASES = {"k8s": "kubernetes"}


def provider(kind: str, context: Context) -> Provider:
    """Return the provider called `kind`, in any case; UsageError where there is none."""
    module, _, name = PROVIDERS[_kind(kind)].partition(":")
    made: Provider = getattr(import_module(module), name)(context)
    return made


def _kind(text: str) -> str:
    """Return the provider that is called `text`; UsageError where none is."""
    kind = _ALIASES.get(text.lower(), text.lower())
    if kind not in PROVIDERS:
        raise UsageError(f"provider {text!a} is not known: use {' or '.join(PROVIDERS)}")
    return kind


def create(
    context: Context,
    name: str,
    kind: str = "nomad",
    hosts: Sequence[Host] = (),
    *,
    servers: int = 1,
    nodes: int = 1,
    debian: str = "13",
    images: Sequence[str] = (),
    dryrun: bool = False,
) -> Cluster:
    """Make a cluster of `hosts`, or of `nodes` local ones; see `Provider.create`."""
    names.check(name, "cluster name")
    engine = provider(kind, context)
    check_servers(servers, len(hosts) or nodes)
    if not hosts and dryrun:
        context.report.note(f"would make {nodes} local hosts of Debian {debian}, and of them a {engine.kind} cluster")
        return Cluster(name, "", engine.kind, "", "")
    if not hosts:
        hosts = local.create(name, nodes, debian=debian, report=context.report)
    return engine.create(name, hosts, servers=servers, images=images, dryrun=dryrun)


def add(context: Context, name: str, hosts: Sequence[Host]) -> Cluster:
    """Let hosts join; see `Provider.add`."""
    with found_by(context, name) as (engine, membership):
        return engine.add(membership, hosts)


def remove(context: Context, name: str, hosts: Sequence[Host], *, force: bool = False) -> None:
    """Take hosts out; see `Provider.remove`."""
    with found_by(context, name) as (engine, membership):
        engine.remove(membership, hosts, force=force)


def kill(context: Context, name: str, *, force: bool = False) -> None:
    """Take a cluster apart; see `Provider.kill`."""
    with found_by(context, name) as (engine, membership):
        engine.kill(membership, force=force)


def list_clusters(context: Context) -> tuple[Cluster, ...]:
    """Return every cluster found, by what its hosts say; no engine is asked."""
    found = []
    for membership in finder.find_all(context):
        with membership:
            found.append(Cluster(membership.cluster, membership.any.id, membership.any.provider, "", ""))
    return tuple(found)


def info_of_all(context: Context) -> tuple[Cluster, ...]:
    """Return every cluster found, as its engine tells it."""
    found = []
    for membership in finder.find_all(context):
        with membership:
            try:
                found.append(provider(membership.any.provider, context).info(membership))
            except ClusterError as error:
                context.report.note(f"cluster {membership.cluster}: {error}")
                found.append(Cluster(membership.cluster, membership.any.id, membership.any.provider, "", ""))
    return tuple(found)


def info(context: Context, name: str) -> Cluster:
    """Return one cluster with its hosts; see `Provider.info`."""
    with found_by(context, name) as (engine, membership):
        return engine.info(membership)


def kubeconfig(context: Context, name: str) -> bytes:
    """Return kubectl's access to a cluster; see `Provider.kubeconfig`."""
    with found_by(context, name) as (engine, membership):
        return engine.kubeconfig(membership)


def submit(
    context: Context,
    name: str,
    job: Job,
    *,
    job_id: str = "",
    secrets: Mapping[str, str] | None = None,
    output: Output | None = None,
) -> JobStatus:
    """Run a job; see `Workload.submit`."""
    if job_id:
        names.check(job_id, "job id")
    with workload(context, name) as its:
        return its.submit(job, job_id=job_id, secrets=secrets, output=output)


def submit_all(
    context: Context,
    name: str,
    jobs: Mapping[str, Job],
    *,
    secrets: Mapping[str, str] | None = None,
    follow: bool = True,
) -> tuple[JobStatus, ...]:
    """Run several jobs beside each other; see `Workload.submit_all`."""
    for job_id in jobs:
        names.check(job_id, "job id")
    with workload(context, name) as its:
        return its.submit_all(jobs, secrets=secrets, follow=follow)


def dryrun(context: Context, name: str, jobs: Mapping[str, Job]) -> list[Mapping[str, Any]]:
    """Return jobs, by their ids, with everything filled in; see `Workload.dryrun`."""
    with workload(context, name) as its:
        return [its.dryrun(job, job_id) for job_id, job in jobs.items()]


def submit_native(
    context: Context, name: str, job: NativeJob, *, output: Output | None = None
) -> tuple[tuple[Accepted, ...], tuple[JobStatus, ...]]:
    """Hand a job in the engine's own language over; see `Workload.submit_native`."""
    with workload(context, name) as its:
        return its.submit_native(job, output=output)


def plan_native(context: Context, name: str, job: NativeJob) -> Mapping[str, Any]:
    """Return what the engine would make of a job in its own language; see `Workload.plan_native`."""
    with workload(context, name) as its:
        return its.plan_native(job)


def jobs(context: Context, name: str, job_id: str = "") -> tuple[JobStatus, ...]:
    """Return all jobs of a cluster, or the one with `job_id` with its tasks."""
    if job_id:
        names.check(job_id, "job id")
    with workload(context, name) as its:
        return (its.job(job_id),) if job_id else its.jobs()


def logs(context: Context, name: str, job_id: str, output: Output, *, follow: bool = False) -> None:
    """Give a job's output to `output`; see `Workload.logs`."""
    names.check(job_id, "job id")
    with workload(context, name) as its:
        its.logs(job_id, output, follow=follow)


def stop(context: Context, name: str, job_id: str) -> JobStatus:
    """End a job; see `Workload.stop`."""
    names.check(job_id, "job id")
    with workload(context, name) as its:
        return its.stop(job_id)


def test(context: Context, name: str) -> tuple[Finding, ...]:
    """Let a cluster prove that jobs find in it what they need; return what was found, host by host."""
    from cloudmesh.cluster.proof import Proof

    with found_by(context, name) as (engine, membership):
        its, places = engine.info(membership), engine.places(membership).list()
        return Proof(context, membership, its, places, lambda: engine.workload(membership)).run()


def images_build(context: Context, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Build our images, all unless some are named; return their tags."""
    from cloudmesh.cluster.images import catalog
    from cloudmesh.cluster.installation import build_image

    return tuple(build_image(name, context) for name in wanted or catalog.IMAGES)


def images_list(wanted: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return our images as rows: name, tag, whether this machine's Docker engine has it, and its size in MB."""
    from cloudmesh.cluster.images import catalog
    from cloudmesh.cluster.images.base import sizes

    tags = {name: catalog.tag(name) for name in wanted or catalog.IMAGES}
    built = sizes(tags.values())
    return [
        {"name": name, "tag": tag, "built": tag in built, "size_mb": built.get(tag, 0) // 1_000_000}
        for name, tag in tags.items()
    ]


def engines(kind: str, *, mirror: str, report: Report) -> list[dict[str, Any]]:
    """Fetch or build a provider's engine files; return them as rows."""
    from cloudmesh.cluster.engines import listing, provide

    engine = _kind(kind)
    provide(engine, mirror=mirror, report=report)
    return [dict(row) for row in listing(engine)]


@contextmanager
def workload(context: Context, name: str) -> Iterator[Workload]:
    """Yield the jobs of the cluster called `name`."""
    with found_by(context, name) as (engine, membership):
        yield engine.workload(membership)


@contextmanager
def found_by(context: Context, name: str) -> Iterator[tuple[Provider, Membership]]:
    """Yield the provider and the hosts of the cluster called `name`."""
    names.check(name, "cluster name")
    with finder.find(context, name) as membership:
        yield provider(membership.any.provider, context), membership
