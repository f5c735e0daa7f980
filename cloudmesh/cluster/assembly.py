"""Hosts brought together for a change: connected, locked, looked at, and planned; nothing is changed yet."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudmesh.cluster import finder, pki
from cloudmesh.cluster.blueprint import Blueprint, Member, Secrets
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ClusterError, HostError, HostsError, UsageError
from cloudmesh.cluster.hosts import facts, fleet, lock, marker, preflight, script
from cloudmesh.cluster.model import Facts, Host, Marker, Role

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection, Held

_ENGINE_SECONDS = 300.0


@dataclass(frozen=True)
class Assembly:
    """Hosts that are connected and locked, and what they say of themselves."""

    connections: Mapping[Host, Connection]
    facts: Mapping[Host, Facts]

    def markers(self, cluster: str) -> dict[Host, Marker]:
        """Return the markers of the hosts that belong to `cluster` already."""
        found = {host: marker.loads(its.marker) for host, its in self.facts.items() if its.marker}
        return {host: its for host, its in found.items() if its.cluster == cluster}

    def host_at(self, address: str) -> Host:
        """Return the host that has `address`; UsageError where none has."""
        for host, its in self.facts.items():
            if its.address == address:
                return host
        raise UsageError(f"the cluster was begun with the server {address}: name that host too")


@contextmanager
def assembled(
    context: Context, cluster: str, hosts: Sequence[Host], ports: Sequence[int], servers: Collection[Connection] = ()
) -> Iterator[Assembly]:
    """Yield `hosts` connected, locked for `cluster`, and looked at.

    The first host, or the cluster's server where one is given, is locked before the others: of two operators with the
    same list exactly one wins.

    Raises:
        HostsError: some hosts cannot be reached; all of them are named.
        LockedError: another operator is changing the cluster or one of the hosts.
    """
    with ExitStack() as stack:
        connections = dict(_connected(context, hosts, stack))
        first, *others = [*servers, *connections.values()]
        stack.callback(lock.hold(first, cluster, context.operator).release)
        rest = {connection.host: connection for connection in others}
        for held in _in_parallel(lambda each: lock.hold(each, cluster, context.operator), rest, stack).values():
            stack.callback(held.release)
        looked_at = fleet.each(
            lambda each: facts.gather(each, ports=ports, interface=context.interface), connections
        ).or_raise()
        yield Assembly(connections, looked_at)


def _connected(context: Context, hosts: Sequence[Host], stack: ExitStack) -> Mapping[Host, Connection]:
    for host in hosts:
        context.report.step(str(host), "connect")
    outcomes = fleet.connect_all(hosts, context.settings)
    for connection in outcomes.values.values():
        stack.callback(connection.close)
    return {host: outcomes.or_raise()[host] for host in hosts}


def _in_parallel(
    take: Callable[[Connection], Held], connections: Mapping[Host, Connection], stack: ExitStack
) -> Mapping[Host, Held]:
    outcomes = fleet.each(take, connections)
    if outcomes.failures:
        for held in outcomes.values.values():
            stack.callback(held.release)
    return outcomes.or_raise()


def check(assembly: Assembly, needs: preflight.Needs, blueprint: Blueprint) -> None:
    """Raise HostsError where a host cannot become part of the cluster, with all that is wrong with each."""
    causes = preflight.check(assembly.facts, needs, blueprint.cluster, blueprint.id)
    if causes:
        raise HostsError({host: HostError(host, cause) for host, cause in causes.items()})


def refuse_namesake(context: Context, blueprint: Blueprint) -> None:
    """Raise ClusterError where another cluster has the name. This one may have been given more hosts by `add`."""
    for membership in finder.find_all(context):
        with membership:
            if membership.cluster == blueprint.cluster and membership.any.id != blueprint.id:
                where = ", ".join(map(str, membership.markers))
                raise ClusterError(
                    f"a cluster called {blueprint.cluster} exists already, on {where}: choose another name, "
                    "or add hosts to it by `cms cluster add`"
                )


def design(
    assembly: Assembly, cluster: str, provider: str, servers: int, new_secrets: Callable[[], Mapping[str, str]]
) -> Blueprint:
    """Return the blueprint of a new cluster, or of the one that an interrupted `create` has begun on these hosts.

    Args:
        assembly: the hosts, servers first.
        cluster: its name.
        provider: its kind.
        servers: how many servers.
        new_secrets: makes the engine's own secrets.

    Raises:
        UsageError: the cluster was begun with other servers, or of another kind.
    """
    begun = next(iter(assembly.markers(cluster).values()), None)
    if begun is None:
        addresses = tuple(its.address for its in assembly.facts.values())[:servers]
        fresh = Secrets(pki.new_authority(cluster), new_secrets())
        return Blueprint(cluster, secrets.token_hex(6), provider, addresses, fresh)
    if begun.provider != provider:
        raise UsageError(f"cluster {cluster} is a {begun.provider} cluster: use -p {begun.provider}")
    kept = read_secrets(assembly.connections[assembly.host_at(begun.servers[0])])
    if kept is None:
        kept = Secrets(pki.new_authority(cluster), new_secrets())
    return Blueprint(cluster, begun.id, provider, begun.servers, kept)


def read_secrets(server: Connection) -> Secrets | None:
    """Return the secrets that a server holds, if any."""
    found = server.run(script.load("host/server.sh"), "secrets").facts
    return Secrets.loads(found["secrets"].encode()) if "secrets" in found else None


def read_engine(server: Connection) -> dict[str, str]:
    """Return the SHA-256 of a server's engine files by name; it reads all of them, which takes a slow host a while."""
    found = server.run(script.load("host/server.sh"), "engine", timeout=_ENGINE_SECONDS).facts
    sums = (line.split() for line in found.get("engine", "").splitlines())
    return {name: digest for digest, name in sums}


def members(assembly: Assembly, blueprint: Blueprint, joined: int = 0) -> tuple[Member, ...]:
    """Return what each host is to be.

    Args:
        assembly: the hosts.
        blueprint: of the cluster.
        joined: how many hosts the cluster has beside these.
    """
    all_are_servers = joined + len(assembly.facts) <= len(blueprint.servers)
    servers_work = all_are_servers or len(blueprint.servers) == 1
    return tuple(
        _member(assembly.connections[host], its, its.address in blueprint.servers, servers_work)
        for host, its in assembly.facts.items()
    )


def _member(connection: Connection, its: Facts, is_server: bool, servers_work: bool) -> Member:
    role = Role.SERVER if is_server else Role.WORKER
    takes_jobs = servers_work or not is_server
    return Member(connection.host, its, role, takes_jobs, connection.contact, connection.host_key)
