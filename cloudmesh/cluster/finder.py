"""Which clusters there are: the hosts are asked, nothing is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ClusterError, HostsError, NotFoundError
from cloudmesh.cluster.hosts import fleet, known, local, marker, script
from cloudmesh.cluster.model import Host, Marker, Role

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
        unreachable: hosts that were asked and did not answer; they may be of this cluster or not.
    """

    cluster: str
    markers: dict[Host, Marker] = field(default_factory=dict)
    connections: dict[Host, Connection] = field(default_factory=dict)
    unreachable: Mapping[str, ClusterError] = field(default_factory=dict)

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

    def first_server(self) -> Connection:
        """Return the connection to the first server that answered; ClusterError where none did."""
        for host in self.servers:
            return self.connections[host]
        raise ClusterError(
            f"no server of cluster {self.cluster} answers (they are {', '.join(self.any.servers)}): start one, or name "
            "it with --hosts"
        )


def find(context: Context, cluster: str) -> Membership:
    """Return the cluster called `cluster`.

    Raises:
        NotFoundError: none of the hosts asked belongs to it.
        ClusterError: there are two of that name.
    """
    found, others, unreachable = [], ExitStack(), {}
    for membership in find_all(context):
        unreachable = dict(membership.unreachable)
        if membership.cluster == cluster:
            found.append(membership)
        else:
            others.push(membership)
    others.close()
    if not found:
        named = {str(host) for host in context.hosts}
        if named and named <= set(unreachable):
            raise HostsError(unreachable)
        raise NotFoundError(_not_found(context, cluster, unreachable))
    if len(found) > 1:
        where = " and ".join(str(next(iter(membership.markers))) for membership in found)
        close(connection for membership in found for connection in membership.connections.values())
        raise ClusterError(f"there are two clusters called {cluster} (on {where}): name the hosts of one with --hosts")
    return found[0]


def find_all(context: Context) -> list[Membership]:
    """Return every cluster that some host belongs to, sorted by name. Hosts that do not answer are noted.

    Raises:
        HostsError: none of the hosts that were named by the operator answered.
    """
    hosts = candidates(context)
    asked = fleet.each(lambda host: _ask(host, context), {host: host for host in hosts})
    memberships: dict[tuple[str, str], Membership] = {}
    for host, (connection, text) in asked.values.items():
        try:
            its = marker.loads(text) if text else None
        except ClusterError as error:
            context.report.note(f"{host}: {error}")
            its = None
        if its is None:
            connection.close()
            continue
        membership = memberships.setdefault((its.cluster, its.id), Membership(its.cluster, unreachable=asked.failures))
        membership.markers[host] = its
        membership.connections[host] = connection
    _tell(context, asked.failures, nothing_found=not asked.values)
    return [memberships[key] for key in sorted(memberships)]


def candidates(context: Context) -> tuple[Host, ...]:
    """Return the hosts to ask: those that the operator named, the local ones, and those whose host keys we know."""
    found = dict.fromkeys(context.hosts)
    for hosts in local.find().values():
        found.update(dict.fromkeys(hosts))
    if not context.hosts:
        found.update(dict.fromkeys(known.hosts()))
    return tuple(found)


def close(connections: Iterable[Connection]) -> None:
    """Close every connection."""
    for connection in list(connections):
        connection.close()


def _ask(host: Host, context: Context) -> tuple[Connection, str]:
    from cloudmesh.cluster.hosts.ssh import connect

    connection = connect(host, context.settings)
    try:
        return connection, connection.run(script.load("host/member.sh"), timeout=_TIMEOUT).facts.get("marker", "")
    except BaseException:
        connection.close()
        raise


# A host that is only known from an earlier time, and is silent, is no news.
def _tell(context: Context, failures: Mapping[str, ClusterError], *, nothing_found: bool) -> None:
    named = {str(host) for host in context.hosts}
    if nothing_found and named and named <= set(failures):
        raise HostsError(failures)
    for name in sorted(named & set(failures)):
        context.report.note(f"not asked: {failures[name]}")


def _not_found(context: Context, cluster: str, unreachable: Mapping[str, ClusterError]) -> str:
    asked = ", ".join(str(host) for host in candidates(context)[:10])
    where = f"none of the hosts asked belongs to it ({asked})" if asked else "there is no host to ask"
    silent = f"; no answer from {', '.join(unreachable)}" if unreachable else ""
    return f"no cluster called {cluster}: {where}{silent}; name one of its hosts with --hosts"
