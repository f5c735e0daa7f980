"""Servers come and go: whether most of them stay, and how every host is told which there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.cluster_spec import SERVER_COUNTS, ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.model import Host, Marker, Node, Role
from cloudmesh.cluster.hosts import discovery, marker
from cloudmesh.cluster.lifecycle import plan
from cloudmesh.cluster.providers.base import NOT_LIVING, Engine, Provider
from cloudmesh.cluster.ssh import parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_TELL_SECONDS = 120.0


def with_servers(spec: ClusterSpec, servers: Sequence[str]) -> ClusterSpec:
    """Return a cluster with other servers than before, or as it is where they are the same."""
    if tuple(servers) == spec.servers:
        return spec
    return replace(spec, servers=tuple(servers), generation=spec.generation + 1)


def check_more_servers(spec: ClusterSpec, addresses: Sequence[str]) -> ClusterSpec:
    """Return the cluster with servers at more addresses, those that it has already left out.

    Raises:
        UsageError: it would have a number of servers of which no majority is always clear.
    """
    more = with_servers(spec, [*spec.servers, *(address for address in addresses if address not in spec.servers)])
    if len(more.servers) not in SERVER_COUNTS:
        raise UsageError(
            f"cluster {spec.cluster} has {len(spec.servers)} servers, and would have {len(more.servers)}: name so many "
            "hosts that there are 3 or 5, so that a majority is always clear; a server that is gone is taken out by "
            f"`cms cluster remove -n {spec.cluster} --force HOST`"
        )
    return more


def check_fewer_servers(cluster: str, nodes: Sequence[Node], leaving: Mapping[Host, Node]) -> None:
    """Raise UsageError where a server is the last one, or where without it those that live are no majority.

    Args:
        cluster: its name.
        nodes: all that the engine has.
        leaving: the servers that are to be taken out, one after the other, by host; those first that are dead.
    """
    servers = {node.address: node for node in nodes if Role.SERVER in node.roles}
    for host, node in sorted(leaving.items(), key=lambda item: item[1].status not in NOT_LIVING):
        if servers.pop(node.address, None) is None:
            continue
        if not servers:
            raise UsageError(f"{host} is the last server: to end the cluster, use `cms cluster kill -n {cluster}`")
        living = sum(server.status not in NOT_LIVING for server in servers.values())
        if living <= len(servers) // 2:
            raise UsageError(
                f"{host} is not removed: without it {living} of {len(servers)} servers are known to live, which is no "
                "majority: start those that are down, or remove these first"
            )


def forget(engine: Engine, nodes: Iterable[Node]) -> None:
    """Have the engine forget nodes, as far as it knows them, and servers among those that decide."""
    for node in nodes:
        if Role.SERVER in node.roles:
            engine.remove_server(node)
        if node.id:
            engine.remove_node(node)


def tell_hosts(
    context: Context, provider: Provider, spec: ClusterSpec, connections: Mapping[Host, Connection]
) -> dict[str, ClusterError]:
    """Tell hosts of a cluster which servers it has, where what they know is older; return the errors by host.

    A host that does not answer now goes on by the servers that it knows.
    """

    if not spec.generation:
        return {}

    def tell(connection: Connection) -> None:
        host_marker = discovery.read_marker(connection)
        if host_marker is None or host_marker.generation >= spec.generation:
            return
        files = server_files(spec, provider, host_marker)
        connection.run(provider.host_script(), "servers", files=files, timeout=_TELL_SECONDS, report=context.report)

    return dict(parallel.run_on_hosts(tell, connections).failures)


def server_files(spec: ClusterSpec, provider: Provider, host_marker: Marker) -> dict[str, bytes]:
    """Return the inputs of the host script by which a host knows the servers."""
    newer = replace(host_marker, servers=spec.servers, generation=spec.generation)
    return {
        "etc/marker.json": marker.dumps(newer),
        **plan.names_of_servers(spec, host_marker.address),
        **(plan.registry_sync_files(spec) if host_marker.role is Role.SERVER else {}),
        **provider.server_list_files(spec, host_marker.role),
    }
