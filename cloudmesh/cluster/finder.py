"""Which clusters there are: the hosts are asked, nothing is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ClusterError, HostsError, NotFoundError
from cloudmesh.cluster.hosts import fleet, known, local, marker, script
from cloudmesh.cluster.model import Host, Marker, Node, Role

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection

_TIMEOUT = 20.0


@dataclass
class Membership:
    """The hosts of one cluster that answered, with an open connection to each; a context manager that closes them.

    Attributes:
        cluster: the cluster's name.
        markers: what each host says of itself.
        connections: to the same hosts.
    """

    cluster: str
    markers: dict[Host, Marker] = field(default_factory=dict)
    connections: dict[Host, Connection] = field(default_factory=dict)

    def __enter__(self) -> Membership:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close(self.connections.values())

    @property
    def any(self) -> Marker:
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
            f"no server of cluster {self.cluster} answers (they are {', '.join(self.any.servers)}): start one, or name "
            "it with --hosts"
        )


def find(context: Context, cluster: str) -> Membership:
    """Return the cluster called `cluster`. Hosts that are only known from an earlier time are asked last.

    Raises:
        NotFoundError: none of the hosts asked belongs to it.
        HostsError: none of the hosts that the operator named answered.
        ClusterError: there are two of that name.
    """
    unreachable: dict[str, ClusterError] = {}
    near, far = candidates(context)
    for hosts in (near, far):
        survey = _survey(context, hosts)
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
    raise NotFoundError(_not_found(cluster, [*near, *far], unreachable))


def find_all(context: Context) -> list[Membership]:
    """Return every cluster that some host belongs to, sorted by name.

    Raises:
        HostsError: none of the hosts that the operator named answered.
    """
    near, far = candidates(context)
    survey = _survey(context, (*near, *far))
    named = {str(host) for host in context.hosts}
    if named and named <= set(survey.unreachable) and not survey.memberships:
        raise HostsError({name: survey.unreachable[name] for name in sorted(named)})
    return survey.memberships


def candidates(context: Context) -> tuple[tuple[Host, ...], tuple[Host, ...]]:
    """Return the hosts to ask: those that the operator named and the local ones; and those whose host keys we know."""
    near = dict.fromkeys(context.hosts)
    for hosts in local.find().values():
        near.update(dict.fromkeys(hosts))
    far = [host for host in known.hosts(context.settings.known_hosts) if host not in near]
    return tuple(near), tuple(far)


@dataclass(frozen=True)
class _Survey:
    memberships: list[Membership]
    unreachable: Mapping[str, ClusterError]


def _survey(context: Context, hosts: Sequence[Host]) -> _Survey:
    """Ask hosts which cluster they belong to; those that belong to one stay connected."""
    asked = fleet.each(lambda host: _ask(host, context), {host: host for host in hosts})
    found: dict[tuple[str, str], Membership] = {}
    for host, (connection, its) in asked.values.items():
        if its is None:
            connection.close()
            continue
        membership = found.setdefault((its.cluster, its.id), Membership(its.cluster))
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
    from cloudmesh.cluster.hosts.ssh import connect

    connection = connect(host, context.settings)
    try:
        text = connection.run(script.load("host/member.sh"), timeout=_TIMEOUT).facts.get("marker", "")
        return connection, marker.loads(text) if text else None
    except BaseException:
        connection.close()
        raise


def _not_found(cluster: str, hosts: Sequence[Host], unreachable: Mapping[str, ClusterError]) -> str:
    shown = ", ".join(str(host) for host in hosts[:10])
    where = f"none of the hosts asked belongs to it ({shown})" if hosts else "there is no host to ask"
    silent = f"; no answer from {', '.join(unreachable)}" if unreachable else ""
    return f"no cluster called {cluster}: {where}{silent}; name one of its hosts with --hosts"
