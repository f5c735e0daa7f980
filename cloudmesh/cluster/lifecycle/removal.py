"""Hosts taken out of a cluster, and clusters taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostsError, NotFoundError, UsageError
from cloudmesh.cluster.core.model import Host, Node, Role
from cloudmesh.cluster.hosts import lock
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, connection_to, host_of
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.providers.base import Engine
from cloudmesh.cluster.ssh import parallel

_DRAIN_SECONDS = 300.0
_CLEAN_SECONDS = 600.0


def remove(
    context: Context, membership: DiscoveredCluster, api: Engine, hosts: Sequence[Host], script: str, *, force: bool
) -> None:
    """Drain, clean and forget `hosts`; see `Provider.remove`."""
    nodes = [_node(host, api.nodes(), membership) for host in hosts]
    answered = membership.by_address
    # A host that answered already is asked in the same way, whatever name it was given now.
    targets = {answered.get(node.address, host): node for host, node in zip(hosts, nodes, strict=True)}
    for host, node in targets.items():
        if Role.SERVER in node.roles:
            raise UsageError(f"{host} is a server: a cluster keeps its servers until it is killed")
    with ExitStack() as stack:
        stack.callback(lock.hold(membership.first_server(), membership.cluster, context.operator).release)
        drained = parallel.run_on_hosts(
            lambda host: _drain(context, api, targets[host], force=force), {host: host for host in targets}
        )
        cleaned = parallel.run_on_hosts(
            partial(_clean, context, membership, script, stack), {host: host for host in drained.values}
        )
        for host in drained.values:
            api.remove_node(targets[host])
    failures = {**drained.failures, **cleaned.failures}
    if failures:
        raise HostsError(failures)


def kill(context: Context, membership: DiscoveredCluster, nodes: Sequence[Node], script: str, *, force: bool) -> None:
    """Clean every host of the cluster, the servers last; see `Provider.kill`."""
    with ExitStack() as stack:
        for server in list(membership.servers)[:1]:
            stack.callback(lock.hold(membership.connections[server], membership.cluster, context.operator).release)
        hosts = {host: its.role for host, its in membership.markers.items()}
        known = membership.by_address
        for node in nodes:
            if node.address not in known:
                hosts[host_of(node, context)] = Role.SERVER if Role.SERVER in node.roles else Role.WORKER
        failures = _clean_all(context, membership, hosts, script, stack)
    if failures and not force:
        raise HostsError(failures)
    for failure in failures.values():
        context.report.note(f"left as it is: {failure}")


def _clean_all(
    context: Context, membership: DiscoveredCluster, hosts: Mapping[Host, Role], script: str, stack: ExitStack
) -> dict[str, ClusterError]:
    failures: dict[str, ClusterError] = {}
    ours = local_hosts.find(membership.cluster).get(membership.cluster, ())
    # The workers first: while a server lives, a kill that was cut off can find the rest again.
    for role in (Role.WORKER, Role.SERVER):
        those = {host: host for host, its in hosts.items() if its is role and host not in ours}
        failures |= parallel.run_on_hosts(partial(_clean, context, membership, script, stack), those).failures
    if ours:
        context.report.step("local hosts", "remove")
        local_hosts.destroy(membership.cluster)
        context.report.done("local hosts", "removed")
    return failures


def _node(host: Host, nodes: Sequence[Node], membership: DiscoveredCluster) -> Node:
    its = membership.markers.get(host)
    for node in nodes:
        if node.name == str(host) or node.address in (host.name, its.address if its else ""):
            return node
    raise NotFoundError(
        f"{host} is not a host of cluster {membership.cluster}: it has {', '.join(n.name for n in nodes)}"
    )


def _drain(context: Context, api: Engine, node: Node, *, force: bool) -> None:
    context.report.step(node.name, "drain")
    try:
        api.drain(node, _DRAIN_SECONDS)
    except ClusterError as error:
        if not force:
            raise ClusterError(
                f"{node.name}: not removed, its jobs cannot be moved away: {error}; --force removes it"
            ) from error
        context.report.note(f"{node.name}: {error}")


def _clean(context: Context, membership: DiscoveredCluster, script: str, stack: ExitStack, host: Host) -> None:
    connection = connection_to(host, membership, context, stack)
    connection.run(script, "clean", timeout=_CLEAN_SECONDS, report=context.report)
    context.report.done(str(host), "clean")
