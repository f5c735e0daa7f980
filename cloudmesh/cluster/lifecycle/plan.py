"""What create and add share before any host is changed: what the cluster is, what each host is to be and gets.

Nothing here changes a host.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import (
    NETWORK,
    REGISTRY_PORT,
    REGISTRY_WRITER_PORT,
    ClusterSecrets,
    ClusterSpec,
    HostPlan,
)
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError, UsageError
from cloudmesh.cluster.core.model import EngineState, Facts, Host, Marker, Role
from cloudmesh.cluster.hosts import discovery, marker, preflight
from cloudmesh.cluster.lifecycle import credentials, versions
from cloudmesh.cluster.providers.base import Provider
from cloudmesh.cluster.providers.open_cluster import read_secrets_of_any
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_DIGEST_SECONDS = 300.0  # a slow host reads hundreds of megabytes
_CONFIG = "/etc/cloudmesh/cluster"
_REGISTRY_DATA = "/var/lib/cloudmesh/registry"


def check_hosts(facts: Mapping[Host, Facts], provider: Provider, spec: ClusterSpec, processor: str = "") -> None:
    """Refuse hosts that cannot become part of the cluster.

    Args:
        facts: of the hosts.
        provider: of the cluster's kind.
        spec: of the cluster.
        processor: that of the hosts which the cluster has beside these; empty: it has no others.

    Raises:
        HostsError: hosts that cannot, with all that is wrong with each.
    """
    needs = replace(provider.needs(), networks=spec.secrets.networks)
    causes = preflight.check(facts, needs, spec.cluster, spec.id, processor, spec.servers)
    if causes:
        raise HostsError({host: HostError(host, cause) for host, cause in causes.items()})


def ensure_unique_name(context: Context, cluster: str, cluster_id: str = "") -> None:
    """Raise ClusterError where another cluster has the name. This one may have more hosts, from `add`."""
    for discovered in discovery.find_all(context):
        with discovered:
            if discovered.cluster == cluster and discovered.marker.id != cluster_id:
                where = ", ".join(map(str, discovered.markers))
                raise ClusterError(
                    f"a cluster called {cluster} exists already, on {where}: choose another name, "
                    f"or add hosts to it by `cms cluster add -n {cluster} HOSTNAMES`"
                )


def new_secrets(provider: Provider, facts: Mapping[Host, Facts]) -> Mapping[str, str]:
    """Return what a new cluster's engine has of its own: secrets, and networks that no host has a route to."""
    taken = [route for host_facts in facts.values() for route in host_facts.routes]
    taken += [f"{host_facts.address} {host}" for host, host_facts in facts.items() if host_facts.address]
    networks = provider.choose_networks(taken)
    return {**provider.new_secrets(), **{f"{NETWORK}{name}": network for name, network in networks.items()}}


def new_spec(
    cluster: str, provider: Provider, facts: Mapping[Host, Facts], servers: Sequence[str], *, version: str = ""
) -> ClusterSpec:
    """Return a cluster that there never was, with servers at these addresses; `version` is the engine's."""
    authority, writers = certificates.new_authority(cluster), credentials.new_writers(cluster)
    fresh = ClusterSecrets(authority, new_secrets(provider, facts), writers)
    return ClusterSpec(cluster, secrets.token_hex(6), provider.kind, tuple(servers), fresh, version=version)


def load_or_begin_spec(
    connections: Mapping[Host, Connection],
    facts: Mapping[Host, Facts],
    cluster: str,
    provider: str,
    servers: int,
    begin: Callable[[Sequence[str]], ClusterSpec],
    version: str = "",
) -> ClusterSpec:
    """Return what a cluster that is begun is to be, or the one that an interrupted command has begun on these hosts.

    Args:
        connections: to the hosts.
        facts: of the hosts, servers first.
        cluster: its name.
        provider: its kind.
        servers: how many servers.
        begin: says what the cluster is to be with servers at these addresses, where none was begun.
        version: of the engine that is asked for; empty: the one that the cluster was begun with, if it was.

    Raises:
        UsageError: the cluster was begun with other servers or another version, or of another kind.
        ClusterError: it was started already, and none of its servers has its secrets.
    """
    markers = [host_marker for host_marker in _read_markers(facts) if host_marker.cluster == cluster]
    begun = max(markers, key=lambda host_marker: host_marker.generation, default=None)
    if begun is None:
        addresses = tuple(host_facts.address for host_facts in facts.values())[:servers]
        return begin(addresses)
    if begun.provider != provider:
        raise UsageError(f"cluster {cluster} is a {begun.provider} cluster: use -p {begun.provider}")
    stored = _read_stored_secrets(connections, facts, begun.servers)
    if stored is None:
        _ensure_never_started(cluster, facts)
        stored = begin(begun.servers).secrets
    spec = ClusterSpec(cluster, begun.id, provider, begun.servers, stored, begun.generation, version=begun.version)
    versions.refuse_another(spec, version)
    return spec if spec.version else replace(spec, version=version)


def _read_markers(facts: Mapping[Host, Facts]) -> Iterator[Marker]:
    for host_facts in facts.values():
        with suppress(ClusterError):  # a damaged one is a fault, which the preflight names with its host
            if host_facts.marker:
                yield marker.loads(host_facts.marker)


def _read_stored_secrets(
    connections: Mapping[Host, Connection], facts: Mapping[Host, Facts], servers: Sequence[str]
) -> ClusterSecrets | None:
    """Return the secrets that a server among the hosts holds; None where all of them say that they have none."""
    by_address = {host_facts.address: host for host, host_facts in facts.items()}
    named = [connections[by_address[address]] for address in servers if address in by_address]
    answer = read_secrets_of_any(named)
    return answer[1] if answer else None


def _ensure_never_started(cluster: str, facts: Mapping[Host, Facts]) -> None:
    """Raise ClusterError where the cluster runs, or ran, with secrets that no server has: new ones would end it."""
    if started := [str(host) for host, host_facts in facts.items() if host_facts.engine_started]:
        raise ClusterError(
            f"cluster {cluster} was started on {', '.join(started)}, but no server that was named has its secrets "
            "(/etc/cloudmesh/cluster/secrets.json): was a server wiped? Nothing was changed: name a server that has "
            f"them too. Where none is left, `cms cluster kill -n {cluster}` ends what runs there, and "
            f"`cms cluster restore -n {cluster} FILE HOSTNAMES` brings a backup"
        )


def leading_host(facts: Mapping[Host, Facts], spec: ClusterSpec) -> Host:
    """Return the first server that has all that its engine needs; where none has, the first server.

    Raises:
        UsageError: the first server is not among the hosts.
    """
    by_address = {host_facts.address: host for host, host_facts in facts.items()}
    for address in spec.servers:
        if address in by_address and facts[by_address[address]].engine is EngineState.STARTED:
            return by_address[address]
    return host_at(facts, spec.servers[0])


def host_at(facts: Mapping[Host, Facts], address: str) -> Host:
    """Return the host that has `address`; UsageError where none has."""
    for host, host_facts in facts.items():
        if host_facts.address == address:
            return host
    raise UsageError(f"the cluster was begun with the server {address}: name that host too")


def read_binary_digests(server: Connection) -> dict[str, str]:
    """Return the SHA-256 of a server's binaries by name; all of them are read, which takes a slow host a while.

    Raises:
        HostError: the server gave no answer, or has no binaries.
    """
    answer = server.ask(host_script.load("host/server.sh"), "engine", "engine", timeout=_DIGEST_SECONDS)
    if answer == "none":
        cause = "the engine's binaries are not there (/opt/cloudmesh/bin): other hosts cannot be given the same ones"
        raise HostError(str(server.host), f"{cause}; run the cluster's create again")
    sums = (line.split() for line in answer.splitlines())
    return {name: digest for digest, name in sums}


def plan_hosts(
    connections: Mapping[Host, Connection], facts: Mapping[Host, Facts], spec: ClusterSpec, *, servers_work: bool
) -> tuple[HostPlan, ...]:
    """Return what each host is to be.

    Args:
        connections: to the hosts.
        facts: of the hosts.
        spec: of the cluster.
        servers_work: whether servers take jobs too.
    """
    plans = []
    for host, host_facts in facts.items():
        connection, is_server = connections[host], host_facts.address in spec.servers
        role = Role.SERVER if is_server else Role.WORKER
        takes_jobs = servers_work or not is_server
        plans.append(HostPlan(host, host_facts, role, takes_jobs, connection.contact, connection.host_key))
    return tuple(plans)


def host_files(spec: ClusterSpec, plan: HostPlan, names: Sequence[str], ports: Sequence[int]) -> dict[str, bytes]:
    """Return what every engine's hosts get: marker, certificates, the registry's name; on servers also the registry.

    Args:
        spec: of the cluster.
        plan: what the host is to be.
        names: DNS names that the engine wants in the host's certificate.
        ports: of servers, from which hosts that were taken out are kept.
    """
    address = plan.facts.address
    is_server = plan.role is Role.SERVER
    host_marker = Marker(
        spec.cluster,
        spec.id,
        spec.provider,
        plan.role,
        address,
        spec.servers,
        plan.node,
        spec.generation,
        spec.version,
    )
    files = {
        "address": address.encode(),
        "registry": spec.registry.encode(),
        "etc/marker.json": marker.dumps(host_marker),
        **credentials.trust_files(spec.secrets, plan.role),
        **credentials.certificate_files(spec.secrets.authority, host_marker, names),
        "etc/names.sh": host_script.load("host/names.sh").encode(),
        "units/cloudmesh-names.service": host_script.load("host/cloudmesh-names.service").encode(),
        **names_of_servers(spec, address),
    }
    if is_server:
        files |= {"etc/secrets.json": spec.secrets.dumps(), "registry_host": b"", **_registry_files(spec, address)}
        files["etc/barred.sh"] = host_script.load("host/barred.sh").encode()
        files["units/cloudmesh-barred.service"] = host_script.load("host/cloudmesh-barred.service").encode()
        files["etc/barred-ports"] = host_script.lines(ports)
    return files


def names_of_servers(spec: ClusterSpec, address: str) -> dict[str, bytes]:
    """Return what the host at `address` gets of the names by which hosts reach the servers; itself comes first."""
    addresses = sorted(spec.servers, key=lambda server: server != address)
    return {f"names/{certificates.REGISTRY_NAME}": host_script.lines(addresses)}


def _registry_files(spec: ClusterSpec, address: str) -> dict[str, bytes]:
    """Return what makes a server's registry: what hosts read, and, on loopback, what servers and operators write."""
    readers = _registry_config(f"{address}:{REGISTRY_PORT}", f"{_CONFIG}/ca.pem")
    units, files = ["cloudmesh-registry.service", "cloudmesh-registry-collect.service"], registry_sync_files(spec)
    files["etc/registry-collect.sh"] = host_script.load("host/registry-collect.sh").encode()
    if spec.secrets.writers:
        writers = _registry_config(f"127.0.0.1:{REGISTRY_WRITER_PORT}", f"{_CONFIG}/writers.pem")
        readers["storage"] = {**readers["storage"], "maintenance": {"readonly": {"enabled": True}}}
        units.append("cloudmesh-registry-writer.service")
        files["etc/registry-writer.yml"] = json.dumps(writers, indent=2).encode()
    files["etc/registry.yml"] = json.dumps(readers, indent=2).encode()
    return {**files, **{f"units/{unit}": host_script.load(f"host/{unit}").encode() for unit in units}}


def registry_sync_files(spec: ClusterSpec) -> dict[str, bytes]:
    """Return what lets a server's registry fetch what it lacks from the others."""
    files = {"etc/registry-sync.sh": host_script.load("host/registry-sync.sh").encode()}
    if len(spec.servers) > 1:
        unit = "cloudmesh-registry-sync.service"
        files[f"units/{unit}"] = host_script.load(f"host/{unit}").encode()
    return files


def _registry_config(address: str, clients: str) -> dict[str, Any]:
    """Return the configuration of a registry that talks to those whose certificate is of the authority in `clients`."""
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
                "clientcas": [clients],
            },
        },
    }
