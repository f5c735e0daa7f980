"""Hosts brought together for a change: connected, locked, looked at, and planned; nothing is changed yet."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError, UsageError
from cloudmesh.cluster.core.model import Facts, Host, Marker, Role
from cloudmesh.cluster.hosts import discovery, facts, lock, marker, preflight
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection, HeldScript


_ENGINE_SECONDS = 300.0


@dataclass(frozen=True)
class LockedHosts:
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
def lock_and_inspect(
    context: Context, cluster: str, hosts: Sequence[Host], ports: Sequence[int], servers: Collection[Connection] = ()
) -> Iterator[LockedHosts]:
    """Yield `hosts` connected, locked for `cluster`, and looked at.

    The first host, or the cluster's server where one is given, is locked before the others: of two operators with the
    same list exactly one wins.

    Raises:
        HostsError: some hosts cannot be reached; all of them are named.
        LockedError: another operator is changing the cluster or one of the hosts.
    """
    with ExitStack() as stack:
        connections = dict(_connect(context, hosts, stack))
        first, *others = [*servers, *connections.values()]
        stack.callback(lock.hold(first, cluster, context.operator).release)
        rest = {connection.host: connection for connection in others}
        for held in _lock_all(lambda each: lock.hold(each, cluster, context.operator), rest, stack).values():
            stack.callback(held.release)
        looked_at = parallel.run_on_hosts(
            lambda each: facts.gather(each, ports=ports, interface=context.interface), connections
        ).or_raise()
        yield LockedHosts(connections, looked_at)


def _connect(context: Context, hosts: Sequence[Host], stack: ExitStack) -> Mapping[Host, Connection]:
    for host in hosts:
        context.report.step(str(host), "connect")
    outcomes = parallel.connect_all(hosts, context.settings)
    for connection in outcomes.values.values():
        stack.callback(connection.close)
    return {host: outcomes.or_raise()[host] for host in hosts}


def _lock_all(
    take: Callable[[Connection], HeldScript], connections: Mapping[Host, Connection], stack: ExitStack
) -> Mapping[Host, HeldScript]:
    outcomes = parallel.run_on_hosts(take, connections)
    if outcomes.failures:
        for held in outcomes.values.values():
            stack.callback(held.release)
    return outcomes.or_raise()


def check_hosts(assembly: LockedHosts, needs: preflight.Needs, blueprint: ClusterSpec) -> None:
    """Raise HostsError where a host cannot become part of the cluster, with all that is wrong with each."""
    causes = preflight.check(assembly.facts, needs, blueprint.cluster, blueprint.id)
    if causes:
        raise HostsError({host: HostError(host, cause) for host, cause in causes.items()})


def ensure_unique_name(context: Context, blueprint: ClusterSpec) -> None:
    """Raise ClusterError where another cluster has the name. This one may have been given more hosts by `add`."""
    for membership in discovery.find_all(context):
        with membership:
            if membership.cluster == blueprint.cluster and membership.marker.id != blueprint.id:
                where = ", ".join(map(str, membership.markers))
                raise ClusterError(
                    f"a cluster called {blueprint.cluster} exists already, on {where}: choose another name, "
                    "or add hosts to it by `cms cluster add`"
                )


def load_or_create_spec(
    assembly: LockedHosts, cluster: str, provider: str, servers: int, new_secrets: Callable[[], Mapping[str, str]]
) -> ClusterSpec:
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
        fresh = ClusterSecrets(certificates.new_authority(cluster), new_secrets())
        return ClusterSpec(cluster, secrets.token_hex(6), provider, addresses, fresh)
    if begun.provider != provider:
        raise UsageError(f"cluster {cluster} is a {begun.provider} cluster: use -p {begun.provider}")
    kept = read_secrets(assembly.connections[assembly.host_at(begun.servers[0])])
    if kept is None:
        kept = ClusterSecrets(certificates.new_authority(cluster), new_secrets())
    return ClusterSpec(cluster, begun.id, provider, begun.servers, kept)


def read_secrets(server: Connection) -> ClusterSecrets | None:
    """Return the secrets that a server holds, if any."""
    found = server.run(host_script.load("host/server.sh"), "secrets").facts
    return ClusterSecrets.loads(found["secrets"].encode()) if "secrets" in found else None


def read_binary_digests(server: Connection) -> dict[str, str]:
    """Return the SHA-256 of a server's engine files by name; it reads all of them, which takes a slow host a while."""
    found = server.run(host_script.load("host/server.sh"), "engine", timeout=_ENGINE_SECONDS).facts
    sums = (line.split() for line in found.get("engine", "").splitlines())
    return {name: digest for digest, name in sums}


def plan_hosts(assembly: LockedHosts, blueprint: ClusterSpec, joined: int = 0) -> tuple[HostPlan, ...]:
    """Return what each host is to be.

    Args:
        assembly: the hosts.
        blueprint: of the cluster.
        joined: how many hosts the cluster has beside these.
    """
    all_are_servers = joined + len(assembly.facts) <= len(blueprint.servers)
    servers_work = all_are_servers or len(blueprint.servers) == 1
    return tuple(
        _plan_host(assembly.connections[host], its, its.address in blueprint.servers, servers_work)
        for host, its in assembly.facts.items()
    )


def _plan_host(connection: Connection, its: Facts, is_server: bool, servers_work: bool) -> HostPlan:
    role = Role.SERVER if is_server else Role.WORKER
    takes_jobs = servers_work or not is_server
    return HostPlan(connection.host, its, role, takes_jobs, connection.contact, connection.host_key)


_CONFIG = "/etc/cloudmesh/cluster"
_REGISTRY_DATA = "/var/lib/cloudmesh/registry"


def host_files(blueprint: ClusterSpec, member: HostPlan, names: Sequence[str]) -> dict[str, bytes]:
    """Return what every engine's hosts get: marker, certificates, the registry's address; secrets only on servers.

    Args:
        names: DNS names that the engine wants in the host's certificate.
    """
    address = member.facts.address
    first = address == blueprint.servers[0]
    authority = blueprint.secrets.authority
    all_names = [*names, "localhost"] + [certificates.REGISTRY_NAME] * first
    certificate = certificates.issue(authority, str(member.host), all_names, [address, "127.0.0.1"])
    its_marker = Marker(blueprint.cluster, blueprint.id, blueprint.provider, member.role, address, blueprint.servers)
    found = {
        "address": address.encode(),
        "registry": blueprint.registry.encode(),
        "etc/marker.json": marker.dumps(its_marker),
        "etc/ca.pem": authority.certificate,
        "etc/host.pem": certificate.certificate,
        "etc/host-key.pem": certificate.key,
    }
    if member.role is Role.SERVER:
        found["etc/secrets.json"] = blueprint.secrets.dumps()
    if first:
        found["registry_host"] = b""
        found["etc/registry.yml"] = json.dumps(_registry_config(blueprint.registry), indent=2).encode()
        found["units/cloudmesh-registry.service"] = host_script.load("host/cloudmesh-registry.service").encode()
    return found


def _registry_config(address: str) -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": _REGISTRY_DATA},
            "delete": {"enabled": True},
            # What a push that was cut off has left; on a full disk that room is needed.
            "maintenance": {"uploadpurging": {"enabled": True, "age": "2h", "interval": "1h", "dryrun": False}},
        },
        "http": {
            "addr": address,
            "relativeurls": True,
            "tls": {
                "certificate": f"{_CONFIG}/host.pem",
                "key": f"{_CONFIG}/host-key.pem",
                "clientcas": [f"{_CONFIG}/ca.pem"],
            },
        },
    }
