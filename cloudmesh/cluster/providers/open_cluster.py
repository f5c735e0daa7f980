"""A cluster that was found, with all that an operation on it needs: its provider, a server, what it is, its engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostError
from cloudmesh.cluster.core.model import ClusterInfo
from cloudmesh.cluster.hosts import discovery
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.providers import load_provider
from cloudmesh.cluster.providers.base import Engine, Provider
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


@dataclass(frozen=True)
class OpenCluster:
    """A cluster with a connection to one of its servers.

    Attributes:
        context: the operator's side.
        provider: of the cluster's kind.
        discovered: its hosts that answered.
        server: the first of its servers that answered.
        spec: what it is, with its secrets, as that server holds it.
    """

    context: Context
    provider: Provider
    discovered: DiscoveredCluster
    server: Connection
    spec: ClusterSpec

    def engine(self) -> AbstractContextManager[Engine]:
        """Open the engine's API for the length of a `with` block."""
        return self.provider.open_engine(self.server, self.spec.secrets)

    def info(self) -> ClusterInfo:
        """Return the cluster as its engine tells it; where the engine is silent, as its hosts do."""
        return describe(self.context, self.provider, self.spec, self.server, self.discovered)


@contextmanager
def open_cluster(context: Context, name: str) -> Iterator[OpenCluster]:
    """Find the cluster called `name` and open it for the length of a `with` block.

    Raises:
        UsageError: the name is not an RFC 1123 label.
        NotFoundError: no host that was asked belongs to it.
        ClusterError: none of its servers answers, or it was not finished.
    """
    names.check(name, "cluster name")
    with discovery.find(context, name) as discovered:
        yield open_discovered(context, discovered)


def open_discovered(context: Context, discovered: DiscoveredCluster) -> OpenCluster:
    """Return a cluster that was found, opened.

    Raises:
        ClusterError: none of its servers answers, or it was not finished.
    """
    marker, server = discovered.marker, discovered.first_server()
    name = marker.cluster
    secrets = read_secrets(server)
    if secrets is None:
        raise ClusterError(f"cluster {name} was not finished: run its create again, or `cms cluster kill -n {name}`")
    spec = ClusterSpec(name, marker.id, marker.provider, marker.servers, secrets)
    return OpenCluster(context, load_provider(marker.provider), discovered, server, spec)


def read_secrets(server: Connection) -> ClusterSecrets | None:
    """Return the cluster's secrets that a server holds; None where it says that it has none.

    Raises:
        HostError: the server gave no answer, or its file is damaged.
    """
    text = server.ask(host_script.load("host/server.sh"), "secrets", "secrets")
    if text == "none":
        return None
    try:
        return ClusterSecrets.loads(text.encode())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = "the cluster's secrets there (/etc/cloudmesh/cluster/secrets.json) are damaged: bring that file back"
        raise HostError(str(server.host), cause) from error


def describe(
    context: Context,
    provider: Provider,
    spec: ClusterSpec,
    server: Connection,
    discovered: DiscoveredCluster | None = None,
) -> ClusterInfo:
    """Return a cluster as its engine tells it; where the engine is silent, the hosts that were discovered."""
    try:
        with provider.open_engine(server, spec.secrets) as engine:
            nodes = engine.nodes()
    except ApiError as error:
        context.report.note(f"the engine does not answer: {error}")
        nodes = discovered.as_nodes() if discovered else ()
    healthy = bool(nodes) and all(node.status == "ready" for node in nodes)
    api = f"{provider.endpoint} on {spec.servers[0]}, through SSH"
    return ClusterInfo(spec.cluster, spec.id, provider.kind, api, spec.registry, nodes, healthy)
