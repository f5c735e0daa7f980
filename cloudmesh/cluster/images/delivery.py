"""The way into a cluster's registry, from which the hosts pull images and engine binaries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import REGISTRY_PORT, REGISTRY_WRITER_PORT, ClusterSpec
from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.images.catalog import split_tag
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.spec.job_bundle import JobBundle
from cloudmesh.cluster.ssh.tls import TlsProxy, client_context
from cloudmesh.cluster.ssh.tls_errors import explain_clocks

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_JOBS = "cms-jobs"


@contextmanager
def open_registry(connection: Connection, spec: ClusterSpec) -> Iterator[Registry]:
    """Yield the cluster's registry, reached through `connection` with a client certificate made for this use only.

    Raises:
        ImageError: the one that the block raised; where the way to the registry is the cause, its message says so.
    """
    authority, writers = spec.secrets.authority, spec.secrets.writers
    operator = certificates.issue(writers or authority, "operator")
    context = client_context(authority.certificate, operator.certificate, operator.key)
    # Who may write is let in on the loopback of the first server alone.
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

    return push(tag, registry.port, report=report, name=target)


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
