"""How engine binaries and images get into a cluster: once into its registry, from which the hosts serve themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import REGISTRY_PORT, ClusterSpec
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.spec.job_bundle import JobBundle
from cloudmesh.cluster.ssh.tls import TlsProxy, client_context

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_JOBS = "cms-jobs"


@contextmanager
def open_registry(connection: Connection, blueprint: ClusterSpec) -> Iterator[Registry]:
    """Yield the cluster's registry, reached through `connection` with a certificate made for this one use."""
    authority = blueprint.secrets.authority
    operator = certificates.issue(authority, "operator")
    context = client_context(authority.certificate, operator.certificate, operator.key)
    with (
        connection.forward(blueprint.servers[0], REGISTRY_PORT) as tunnel,
        TlsProxy(tunnel.port, context, certificates.REGISTRY_NAME) as proxy,
    ):
        yield Registry(proxy.port)


def deliver_image(to: Registry, tag: str, report: Report, target: str = "") -> str:
    """Push the image `tag` of the operator's Docker engine, unless the registry has it; see `push`."""
    from cloudmesh.cluster.images.push import push

    return push(tag, to.port, report=report, name=target)


def deliver_job_image(to: Registry, image: str, job_id: str, bundle: JobBundle) -> str:
    """Lay the job's own files over `image`, a repository and tag of the registry.

    Returns:
        The repository and tag of the job's image.
    """
    repository, _, tag = image.rpartition(":")
    target = job_image_name(job_id, bundle)
    to.append_layer(repository, tag, bundle.layer, *target.split(":"))
    return target


def job_image_name(job_id: str, bundle: JobBundle) -> str:
    """Return the repository and tag of the image of a job with these files."""
    return f"{_JOBS}/{job_id}:{bundle.digest[:16]}"
