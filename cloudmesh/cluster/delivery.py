"""How engine binaries and images get into a cluster: once into its registry, from which the hosts serve themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudmesh.cluster import engines, pki
from cloudmesh.cluster.blueprint import REGISTRY_PORT, Blueprint
from cloudmesh.cluster.hosts.tls import TlsProxy, client_context
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.jobs.bundle import Bundle
from cloudmesh.cluster.model import Report

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection

ENGINE_REPOSITORY = "cloudmesh/engine"
_JOBS = "cms-jobs"


@contextmanager
def registry(connection: Connection, blueprint: Blueprint) -> Iterator[Registry]:
    """Yield the cluster's registry, reached through `connection` with a certificate made for this one use."""
    authority = blueprint.secrets.authority
    operator = pki.issue(authority, "operator")
    context = client_context(authority.certificate, operator.certificate, operator.key)
    with connection.forward(blueprint.servers[0], REGISTRY_PORT) as tunnel, TlsProxy(tunnel.port, context) as proxy:
        yield Registry(proxy.port)


def deliver_engine(to: Registry, bundle: engines.Bundle, report: Report) -> dict[str, str]:
    """Send the engine's files that the registry lacks.

    Returns:
        The SHA-256 of each file by its name.
    """
    for file in bundle.files:
        if not to.has_blob(ENGINE_REPOSITORY, f"sha256:{file.sha256}"):
            report.step("engine", f"send {file.name} to the cluster")
            to.put_blob(ENGINE_REPOSITORY, file.path)
    report.done("engine", f"{bundle.engine} {bundle.version} ({bundle.source})")
    return {file.name: file.sha256 for file in bundle.files}


def deliver_image(to: Registry, tag: str, report: Report, target: str = "") -> str:
    """Push the image `tag` of the operator's Docker engine, unless the registry has it; see `push`."""
    from cloudmesh.cluster.images.push import push

    return push(tag, to.port, report=report, name=target)


def deliver_job(to: Registry, image: str, job_id: str, bundle: Bundle) -> str:
    """Lay the job's own files over `image`, a repository and tag of the registry.

    Returns:
        The repository and tag of the job's image.
    """
    repository, _, tag = image.rpartition(":")
    target = job_image(job_id, bundle)
    to.append_layer(repository, tag, bundle.layer, *target.split(":"))
    return target


def job_image(job_id: str, bundle: Bundle) -> str:
    """Return the repository and tag of the image of a job with these files."""
    return f"{_JOBS}/{job_id}:{bundle.digest[:16]}"
