"""The verbs of `cms cluster` for scripts: each finds the cluster by its name, and lets its provider do the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.cluster_spec import check_server_count
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.model import ClusterInfo, Host, JobStatus, Volume
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.health.check_results import CheckResult
from cloudmesh.cluster.hosts import discovery
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.jobs.follow import OutputHandler
from cloudmesh.cluster.jobs.results import CopySummary
from cloudmesh.cluster.jobs.service import JobService
from cloudmesh.cluster.providers.base import NativeSubmission, Provider
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob

# A third engine is one package more, and one line here.
PROVIDERS = {
    "nomad": "cloudmesh.cluster.providers.nomad.provider:NomadProvider",
    "kubernetes": "cloudmesh.cluster.providers.kubernetes.provider:KubernetesProvider",
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
) -> ClusterInfo:
    """Make a cluster of `hosts`, or of `nodes` local ones; see `Provider.create`."""
    names.check(name, "cluster name")
    engine = provider(kind, context)
    check_server_count(servers, len(hosts) or nodes)
    if not hosts and dryrun:
        context.report.note(f"would make {nodes} local hosts of Debian {debian}, and of them a {engine.kind} cluster")
        return ClusterInfo(name, "", engine.kind, "", "")
    if not hosts:
        hosts = local_hosts.create(name, nodes, debian=debian, report=context.report)
    return engine.create(name, hosts, servers=servers, images=images, dryrun=dryrun)


def add(context: Context, name: str, hosts: Sequence[Host]) -> ClusterInfo:
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


def list_clusters(context: Context) -> tuple[ClusterInfo, ...]:
    """Return every cluster found, by what its hosts say; no engine is asked."""
    found = []
    for membership in discovery.find_all(context):
        with membership:
            found.append(ClusterInfo(membership.cluster, membership.marker.id, membership.marker.provider, "", ""))
    return tuple(found)


def info_of_all(context: Context) -> tuple[ClusterInfo, ...]:
    """Return every cluster found, as its engine tells it."""
    found = []
    for membership in discovery.find_all(context):
        with membership:
            try:
                found.append(provider(membership.marker.provider, context).info(membership))
            except ClusterError as error:
                context.report.note(f"cluster {membership.cluster}: {error}")
                found.append(ClusterInfo(membership.cluster, membership.marker.id, membership.marker.provider, "", ""))
    return tuple(found)


def info(context: Context, name: str) -> ClusterInfo:
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
    job: JobSpec,
    *,
    job_id: str = "",
    secrets: Mapping[str, str] | None = None,
    output: OutputHandler | None = None,
) -> JobStatus:
    """Run a job; see `Workload.submit`."""
    if job_id:
        names.check(job_id, "job id")
    with workload(context, name) as its:
        return its.submit(job, job_id=job_id, secrets=secrets, output=output)


def submit_all(
    context: Context,
    name: str,
    jobs: Mapping[str, JobSpec],
    *,
    secrets: Mapping[str, str] | None = None,
    follow: bool = True,
) -> tuple[JobStatus, ...]:
    """Run several jobs beside each other; see `Workload.submit_all`."""
    for job_id in jobs:
        names.check(job_id, "job id")
    with workload(context, name) as its:
        return its.submit_all(jobs, secrets=secrets, follow=follow)


def dryrun(context: Context, name: str, jobs: Mapping[str, JobSpec]) -> list[Mapping[str, Any]]:
    """Return jobs, by their ids, with everything filled in; see `Workload.dryrun`."""
    with workload(context, name) as its:
        return [its.dryrun(job, job_id) for job_id, job in jobs.items()]


def submit_native(
    context: Context, name: str, job: NativeJob, *, output: OutputHandler | None = None
) -> tuple[tuple[NativeSubmission, ...], tuple[JobStatus, ...]]:
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


def logs(context: Context, name: str, job_id: str, output: OutputHandler, *, follow: bool = False) -> None:
    """Give a job's output to `output`; see `Workload.logs`."""
    names.check(job_id, "job id")
    with workload(context, name) as its:
        its.logs(job_id, output, follow=follow)


def stop(context: Context, name: str, job_id: str) -> JobStatus:
    """End a job; see `Workload.stop`."""
    names.check(job_id, "job id")
    with workload(context, name) as its:
        return its.stop(job_id)


def test(context: Context, name: str) -> tuple[CheckResult, ...]:
    """Let a cluster prove that jobs find in it what they need; return what was found, host by host."""
    from cloudmesh.cluster.health.cluster_test import ClusterTest

    with found_by(context, name) as (engine, membership):
        its, places = engine.info(membership), engine.volumes(membership).list()
        return ClusterTest(context, membership, its, places, lambda: engine.workload(membership)).run()


def images_build(context: Context, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Build our images, all unless some are named; return their tags."""
    from cloudmesh.cluster.images import catalog
    from cloudmesh.cluster.images.build import build_builtin_image

    return tuple(build_builtin_image(name, context) for name in wanted or catalog.IMAGES)


def images_list(wanted: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return our images as rows: name, tag, whether this machine's Docker engine has it, and its size in MB."""
    from cloudmesh.cluster.docker_daemon.debian_base import image_sizes
    from cloudmesh.cluster.images import catalog

    tags = {name: catalog.tag(name) for name in wanted or catalog.IMAGES}
    built = image_sizes(tags.values())
    return [
        {"name": name, "tag": tag, "built": tag in built, "size_mb": built.get(tag, 0) // 1_000_000}
        for name, tag in tags.items()
    ]


def engines(kind: str, *, mirror: str, report: Report) -> list[dict[str, Any]]:
    """Fetch or build a provider's engine files; return them as rows."""
    from cloudmesh.cluster.binaries.provision import list_files, provide

    engine = _kind(kind)
    provide(engine, mirror=mirror, report=report)
    return [dict(row) for row in list_files(engine)]


@contextmanager
def workload(context: Context, name: str) -> Iterator[JobService]:
    """Yield the jobs of the cluster called `name`."""
    with found_by(context, name) as (engine, membership):
        yield engine.workload(membership)


@contextmanager
def found_by(context: Context, name: str) -> Iterator[tuple[Provider, DiscoveredCluster]]:
    """Yield the provider and the hosts of the cluster called `name`."""
    names.check(name, "cluster name")
    with discovery.find(context, name) as membership:
        yield provider(membership.marker.provider, context), membership


def volumes(context: Context, name: str) -> tuple[Volume, ...]:
    """Return the places for data of a cluster; see `Places.list`."""
    with found_by(context, name) as (engine, membership):
        return engine.volumes(membership).list()


def add_volume(context: Context, name: str, place: Volume) -> None:
    """Bring a place to a cluster; see `Places.add`."""
    names.check(place.name, "storage name")
    with found_by(context, name) as (engine, membership):
        engine.volumes(membership).add(place)


def remove_volume(context: Context, name: str, place: str) -> None:
    """Take a place away from a cluster; see `Places.remove`."""
    names.check(place, "storage name")
    with found_by(context, name) as (engine, membership):
        engine.volumes(membership).remove(place)


def get(context: Context, name: str, job_id: str, target: Path) -> CopySummary:
    """Bring what a job's tasks have left into a folder; see `Provider.results`."""
    names.check(job_id, "job id")
    with found_by(context, name) as (engine, membership):
        return engine.results(membership, job_id, target)
