"""Which clusters there are: the hosts are asked, nothing is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostsError, NotFoundError
from cloudmesh.cluster.core.model import Host, Marker, Node, Role
from cloudmesh.cluster.hosts import marker
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.ssh import host_list, host_script, known_hosts, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


_TIMEOUT = 20.0


@dataclass
class DiscoveredCluster:
    """The hosts of one cluster that answered, with an open connection to each; a context manager that closes them.

    Attributes:
        cluster: the cluster's name.
        markers: what each host says of itself.
        connections: to the same hosts.
    """

    cluster: str
    markers: dict[Host, Marker] = field(default_factory=dict)
    connections: dict[Host, Connection] = field(default_factory=dict)

    def __enter__(self) -> DiscoveredCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close(self.connections.values())

    @property
    def marker(self) -> Marker:
        """What one of its hosts says: name, id, provider and servers are the same on all."""
        return next(iter(self.servers.values()), None) or next(iter(self.markers.values()))

    @property
    def servers(self) -> dict[Host, Marker]:
        """The servers that answered, the first one first where it did."""
        found = [(host, its) for host, its in self.markers.items() if its.role is Role.SERVER]
        return dict(sorted(found, key=lambda item: item[1].servers.index(item[1].address)))

    @property
    def by_address(self) -> dict[str, Host]:
        """The hosts that answered, by their addresses within the cluster."""
        return {its.address: host for host, its in self.markers.items()}

    def as_nodes(self) -> tuple[Node, ...]:
        """Return the hosts as they tell it themselves, for an engine that is silent."""
        return tuple(Node(str(host), its.address, (its.role,), "unknown") for host, its in self.markers.items())

    def first_server(self) -> Connection:
        """Return the connection to the first server that answered; ClusterError where none did."""
        for host in self.servers:
            return self.connections[host]
        raise ClusterError(
            f"no server of cluster {self.cluster} answers (they are {', '.join(self.marker.servers)}): start one, "
            "or name it with --hosts"
        )


def find(context: Context, cluster: str) -> DiscoveredCluster:
    """Return the cluster called `cluster`. Hosts that are only known from an earlier time are asked last.

    Raises:
        NotFoundError: none of the hosts asked belongs to it.
        HostsError: none of the hosts that the operator named answered.
        ClusterError: there are two of that name.
    """
    unreachable: dict[str, ClusterError] = {}
    near, far = candidates(context)
    for hosts in (near, far):
        survey = _survey_hosts(context, hosts)
        unreachable |= survey.unreachable
        found = [membership for membership in survey.memberships if membership.cluster == cluster]
        close(c for m in survey.memberships if m not in found for c in m.connections.values())
        if len(found) > 1:
            close(c for m in found for c in m.connections.values())
            where = " and ".join(str(next(iter(membership.markers))) for membership in found)
            raise ClusterError(
                f"there are two clusters called {cluster} (on {where}): name the hosts of one by --hosts"
            )
        if found:
            return found[0]
    named = {str(host) for host in context.hosts}
    if named and named <= set(unreachable):
        raise HostsError({name: unreachable[name] for name in sorted(named)})
    raise NotFoundError(_not_found_message(cluster, [*near, *far], unreachable))


def find_all(context: Context) -> list[DiscoveredCluster]:
    """Return every cluster that some host belongs to, sorted by name.

    Raises:
        HostsError: none of the hosts that the operator named answered.
    """
    near, far = candidates(context)
    survey = _survey_hosts(context, (*near, *far))
    named = {str(host) for host in context.hosts}
    if named and named <= set(survey.unreachable) and not survey.memberships:
        raise HostsError({name: survey.unreachable[name] for name in sorted(named)})
    return survey.memberships


def candidates(context: Context) -> tuple[tuple[Host, ...], tuple[Host, ...]]:
    """Return the hosts to ask: those that the operator named and the local ones; and those whose host keys we know."""
    near = dict.fromkeys(context.hosts)
    for hosts in local_hosts.find().values():
        near.update(dict.fromkeys(hosts))
    far = [host for host in known_hosts.hosts(context.settings.known_hosts) if host not in near]
    return tuple(near), tuple(far)


@dataclass(frozen=True)
class _Survey:
    memberships: list[DiscoveredCluster]
    unreachable: Mapping[str, ClusterError]


def _survey_hosts(context: Context, hosts: Sequence[Host]) -> _Survey:
    """Ask hosts which cluster they belong to; those that belong to one stay connected."""
    asked = parallel.run_on_hosts(lambda host: _ask(host, context), {host: host for host in hosts})
    found: dict[tuple[str, str], DiscoveredCluster] = {}
    for host, (connection, its) in asked.values.items():
        if its is None:
            connection.close()
            continue
        membership = found.setdefault((its.cluster, its.id), DiscoveredCluster(its.cluster))
        if its.address in {other.address for other in membership.markers.values()}:
            connection.close()  # one machine, found under two names
            continue
        membership.markers[host] = its
        membership.connections[host] = connection
    # A host that is only known from an earlier time, and is silent, is no news.
    for host in context.hosts:
        if str(host) in asked.failures:
            context.report.note(f"not asked: {asked.failures[str(host)]}")
    return _Survey([found[key] for key in sorted(found)], asked.failures)


def close(connections: Iterable[Connection]) -> None:
    """Close every connection."""
    for connection in list(connections):
        connection.close()


def _ask(host: Host, context: Context) -> tuple[Connection, Marker | None]:
    from cloudmesh.cluster.ssh.connect import connect

    connection = connect(host, context.settings)
    try:
        text = connection.run(host_script.load("host/member.sh"), timeout=_TIMEOUT).facts.get("marker", "")
        return connection, marker.loads(text) if text else None
    except BaseException:
        connection.close()
        raise


def _not_found_message(cluster: str, hosts: Sequence[Host], unreachable: Mapping[str, ClusterError]) -> str:
    shown = ", ".join(str(host) for host in hosts[:10])
    where = f"none of the hosts asked belongs to it ({shown})" if hosts else "there is no host to ask"
    silent = f"; no answer from {', '.join(unreachable)}" if unreachable else ""
    return f"no cluster called {cluster}: {where}{silent}; name one of its hosts with --hosts"


def host_of(node: Node, context: Context) -> Host:
    """Return how the operator reaches a node that only the engine has told of, as it was reached when it joined."""
    (host,) = host_list.parse_hosts(node.contact, user=context.user, port=context.port, key=context.key)
    return Host(host.name, host.user, host.port, host.key, host_key=node.host_key)


def hosts_of(nodes: Sequence[Node], membership: DiscoveredCluster, context: Context) -> dict[Host, Node]:
    """Return each node by its host: as it answered already, else as it was reached when it joined."""
    known = membership.by_address
    return {known.get(node.address) or host_of(node, context): node for node in nodes}


def connection_to(host: Host, membership: DiscoveredCluster, context: Context, stack: ExitStack) -> Connection:
    """Return the connection to a host: the one that is open, else a new one that `stack` closes."""
    from cloudmesh.cluster.ssh.connect import connect

    if host in membership.connections:
        return membership.connections[host]
    connection = connect(host, context.settings)
    stack.callback(connection.close)
    return connection
