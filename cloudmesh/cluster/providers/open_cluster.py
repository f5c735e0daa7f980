"""A cluster that was found, with all that an operation on it needs: its provider, a server, what it is, its engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostError
from cloudmesh.cluster.core.model import ClusterInfo, Host, Node, Role
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.hosts import discovery, expiry, members
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.images import delivery
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.providers import load_provider
from cloudmesh.cluster.providers.base import Engine, Provider
from cloudmesh.cluster.ssh import host_script
from cloudmesh.cluster.ssh.any_server import open_answering

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

# While servers choose a new leader, none of them answers.
_CHOICE_SECONDS = 20.0


@dataclass(frozen=True)
class OpenCluster:
    """A cluster with a connection to one of its servers.

    Attributes:
        context: the operator's side.
        provider: of the cluster's kind.
        discovered: its hosts that answered.
        server: the first of its servers that answered.
        spec: what it is, with its secrets, as that server holds it.
        leaving: the addresses of servers that are not asked any more, as they are being taken out.
    """

    context: Context
    provider: Provider
    discovered: DiscoveredCluster
    server: Connection
    spec: ClusterSpec
    leaving: Collection[str] = ()

    @property
    def connected_servers(self) -> dict[Host, Connection]:
        """The connections to the servers that answered, and that are not leaving."""
        servers = self.discovered.servers
        connections = self.discovered.server_connections
        return {host: connections[host] for host in servers if servers[host].address not in self.leaving}

    def without(self, addresses: Collection[str], stack: ExitStack) -> OpenCluster:
        """Return the cluster as it is reached by servers other than those at `addresses`, which are to leave it.

        Args:
            addresses: of the servers.
            stack: closes a connection that had to be opened.

        Raises:
            ApiError: no other server can be reached.
        """
        left = replace(self, leaving=frozenset(addresses))
        for server in left._servers(stack):
            return replace(left, server=server)
        raise ApiError(f"no other server of cluster {self.spec.cluster} can be reached")

    def engine(self) -> AbstractContextManager[Engine]:
        """Open the engine's API, on the first server on which it answers, for the length of a `with` block.

        Raises:
            ApiError: it answers on none.
        """
        return open_engine(self.provider, self.spec, self._servers, self.context.report)

    def registry(self) -> AbstractContextManager[Registry]:
        """Open the registry, on the first server on which it answers, for the length of a `with` block.

        Raises:
            ImageError: it answers on none.
        """
        return delivery.open_registry(self.spec, self._servers, self.context.report)

    def info(self) -> ClusterInfo:
        """Return the cluster as its engine tells it; where the engine is silent, as its hosts do.

        What expires soon is told, by the hosts that are connected.
        """
        info = describe(self.context, self.provider, self.spec, self.engine, self.discovered)
        connections = self.discovered.connections
        by_address = {address: (host, connections[host]) for address, host in self.discovered.by_address.items()}
        return expiry.complete(info, by_address, self.context.report)

    def _servers(self, stack: ExitStack) -> Iterator[Connection]:
        """Yield connections to the servers, those first that are connected; a server knows the others."""
        connected = list(self.connected_servers.values())
        if not self.leaving or self.server in connected:
            yield self.server
        yield from (server for server in connected if server is not self.server)
        known = {marker.address for marker in self.discovered.servers.values()} | set(self.leaving)
        if known >= set(self.spec.servers):
            return
        for node in self._unknown_servers(known):
            host = discovery.host_of(node, self.context)
            try:
                # One that was just asked in vain is not waited for again.
                if str(host) in self.discovered.unreachable:
                    raise self.discovered.unreachable[str(host)]
                connection = discovery.connection_to(host, self.discovered, self.context, stack)
            except ClusterError as error:
                self.context.report.note(f"{node.name}: {error.cause if isinstance(error, HostError) else error}")
            else:
                yield connection

    def _unknown_servers(self, known: Collection[str]) -> Sequence[Node]:
        """Return the servers that the first one knows beside those at the addresses `known`."""
        try:
            nodes = members.read(self.server).nodes
        except HostError as error:
            self.context.report.note(str(error))
            return ()
        return [node for node in nodes if Role.SERVER in node.roles and node.address not in known]


@contextmanager
def open_engine(
    provider: Provider, spec: ClusterSpec, servers: Callable[[ExitStack], Iterator[Connection]], report: Report
) -> Iterator[Engine]:
    """Open a cluster's API, on the first server on which it answers, for the length of a `with` block.

    Args:
        provider: of the cluster's kind.
        spec: of the cluster.
        servers: yields connections to its servers; it is given what closes those that it opens.
        report: is told which servers do not answer.

    Raises:
        ApiError: the API answers on none of them.
    """
    with ExitStack() as stack:
        remaining = servers(stack)
        if len(spec.servers) == 1:
            yield stack.enter_context(provider.open_engine(next(remaining), spec.secrets))
            return
        connections: list[Connection] = []

        def all_servers() -> Iterator[Connection]:
            yield from list(connections)
            for server in remaining:
                connections.append(server)
                yield server

        @contextmanager
        def open_checked(server: Connection) -> Iterator[Engine]:
            with provider.open_engine(server, spec.secrets) as engine:
                engine.check()
                yield engine

        answer = retry(
            lambda: open_answering(
                all_servers(),
                open_checked,
                stack,
                report,
                fault=ApiError,
                nobody=f"no server of cluster {spec.cluster} answers",
            ),
            lambda error: isinstance(error, ApiError),
            seconds=_CHOICE_SECONDS,
        )
        yield answer.opened


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
    marker = discovered.marker
    answer = read_secrets_of_any(discovered.list_servers())
    if answer is None:
        name = marker.cluster
        raise ClusterError(f"cluster {name} was not finished: run its create again, or `cms cluster kill -n {name}`")
    server, secrets = answer
    spec = ClusterSpec(
        marker.cluster,
        marker.id,
        marker.provider,
        marker.servers,
        secrets,
        generation=marker.generation,
        version=marker.version,
    )
    return OpenCluster(context, load_provider(marker.provider), discovered, server, spec)


def read_secrets_of_any(servers: Iterable[Connection]) -> tuple[Connection, ClusterSecrets] | None:
    """Return the first server that holds the cluster's secrets, and these; None where all say that they have none.

    Raises:
        HostError: none has them, and one gave no answer, or its file is damaged.
    """
    failure: HostError | None = None
    for server in servers:
        try:
            secrets = read_secrets(server)
        except HostError as error:
            failure = failure or error
            continue
        if secrets:
            return server, secrets
    if failure:
        raise failure
    return None


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
    open_api: Callable[[], AbstractContextManager[Engine]],
    discovered: DiscoveredCluster | None = None,
) -> ClusterInfo:
    """Return a cluster as its engine tells it; where the engine is silent, the hosts that were discovered."""
    try:
        with open_api() as engine:
            nodes = engine.nodes()
    except ApiError as error:
        context.report.note(f"the engine does not answer: {error}")
        nodes = discovered.as_nodes() if discovered else ()
    healthy = bool(nodes) and all(node.status == "ready" for node in nodes)
    api = f"{provider.endpoint} on {spec.servers[0]}, through SSH"
    return ClusterInfo(spec.cluster, spec.id, provider.kind, api, spec.registry, nodes, healthy)
