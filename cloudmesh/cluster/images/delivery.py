"""The way into a cluster's registry, from which the hosts pull images and engine binaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import REGISTRY_PORT, REGISTRY_WRITER_PORT, ClusterSpec
from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.images.catalog import split_tag
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.spec.job_bundle import JobBundle
from cloudmesh.cluster.ssh import host_script, parallel
from cloudmesh.cluster.ssh.any_server import open_answering
from cloudmesh.cluster.ssh.tls import TlsProxy, client_context
from cloudmesh.cluster.ssh.tls_errors import explain_clocks

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_JOBS = "cms-jobs"
_SYNC_SECONDS = 600.0


@contextmanager
def open_registry(
    spec: ClusterSpec, servers: Callable[[ExitStack], Iterator[Connection]], report: Report
) -> Iterator[Registry]:
    """Yield the registry of the first server that has one that answers; in the end the others get what was put there.

    Args:
        spec: of the cluster.
        servers: yields connections to its servers; it is given what closes those that it opens.
        report: is told which servers do not answer.

    Raises:
        ImageError: the one that the block raised; or none of the servers has a registry that answers.
    """
    with ExitStack() as stack:
        remaining = servers(stack)
        if len(spec.servers) == 1:
            yield stack.enter_context(_open_on(next(remaining), spec))
            return
        answer = open_answering(
            remaining,
            lambda server: _open_checked(server, spec),
            stack,
            report,
            fault=ImageError,
            nobody=f"no server of cluster {spec.cluster} has a registry that answers",
        )
        yield answer.opened
        if pushed := answer.opened.pushed:
            others = [*answer.silent, *(other for other in remaining if other is not answer.server)]
            _bring_up_to_date(others, len(spec.servers) - 1, pushed, report)


@contextmanager
def _open_checked(server: Connection, spec: ClusterSpec) -> Iterator[Registry]:
    """Yield the registry of a server, once it has answered."""
    with _open_on(server, spec) as registry:
        registry.check()
        yield registry


def _bring_up_to_date(
    servers: Sequence[Connection], count: int, pushed: Mapping[tuple[str, str], str], report: Report
) -> None:
    """Have servers fetch what was pushed to one of them. A server that cannot do so now does it later by itself.

    Args:
        servers: the others that can be reached.
        count: how many others there are.
        pushed: the images' digests, by repository and tag.
        report: is told which servers do not have it now.
    """
    lines = host_script.lines(f"{repo} {tag} {digest.partition(':')[2]}" for (repo, tag), digest in pushed.items())
    script, files = host_script.load("host/registry-sync.sh"), {"pushed": lines}
    outcomes = parallel.run_on_hosts(
        lambda server: server.run(script, "pushed", files=files, timeout=_SYNC_SECONDS),
        {server.host: server for server in servers},
    )
    for error in outcomes.failures.values():
        report.note(f"{error}; its registry catches up by itself")
    if len(servers) < count:
        report.note("the registry of a server that gave no answer catches up when it is back")


@contextmanager
def _open_on(connection: Connection, spec: ClusterSpec) -> Iterator[Registry]:
    """Yield the registry of a server, reached through `connection` with a client certificate made for this use only.

    Raises:
        ImageError: the one that the block raised; where the way to the registry is the cause, its message says so.
    """
    authority, writers = spec.secrets.authority, spec.secrets.writers
    operator = certificates.issue(writers or authority, "operator")
    context = client_context(spec.secrets.trusted, operator.certificate, operator.key)
    # Who may write is let in on the loopback of a server alone.
    place = ("127.0.0.1", REGISTRY_WRITER_PORT) if writers else (spec.servers[0], REGISTRY_PORT)
    with (
        connection.forward(*place) as tunnel,
        TlsProxy(tunnel.port, context, certificates.REGISTRY_NAME) as proxy,
    ):
        try:
            yield Registry(proxy.port)
        except ImageError as error:
            if not (tunnel.failure or proxy.failure):
                raise
            why = [tunnel.failure or proxy.failure]
            if "certificate" in proxy.failure and not tunnel.failure:
                why.append(explain_clocks(connection))
            raise ImageError("; ".join(filter(None, [str(error), *why]))) from error


def deliver_image(registry: Registry, tag: str, report: Report, target: str = "") -> str:
    """Push the image `tag` from the operator's Docker daemon, unless the registry has it; see `push`."""
    from cloudmesh.cluster.images.push import push

    return push(tag, registry, report=report, name=target)


def deliver_job_image(registry: Registry, image: str, job_id: str, bundle: JobBundle) -> str:
    """Make the job's image in the registry: `image`, "REPOSITORY:TAG" there, with the job's files as one more layer.

    Returns:
        "REPOSITORY:TAG@DIGEST" of the job's image.
    """
    target = job_image_name(job_id, bundle)
    return f"{target}@{registry.append_layer(*split_tag(image), bundle.layer, *split_tag(target))}"


def job_image_name(job_id: str, bundle: JobBundle) -> str:
    """Return "REPOSITORY:TAG" of the image of a job with these files."""
    return f"{_JOBS}/{job_id}:{bundle.digest[:16]}"
