"""A cluster is taken apart: jobs, agents, packages and files that it brought go, on every host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostsError, ImageError, UsageError
from cloudmesh.cluster.core.model import Host, Node, Role
from cloudmesh.cluster.hosts import lock, members
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, host_of
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.lifecycle.clean import clean_hosts
from cloudmesh.cluster.lifecycle.phases import Phase, PlannedStep, changes, checks, perform, planned_steps
from cloudmesh.cluster.providers import load_provider
from cloudmesh.cluster.providers.open_cluster import open_discovered
from cloudmesh.cluster.ssh import parallel

_UNDO = "nothing: what is gone is gone"


@dataclass
class Kill:
    """One run of `kill`.

    Attributes:
        context: the operator's side.
        discovered: the cluster's hosts that answered.
        hosts: roles of all hosts of the cluster, also of those that only the engine has told of.
        local: those of them that are containers on this machine.
        failures: hosts that were not cleaned, each with its cause.
        stack: releases the lock, and the connections that had to be opened.
    """

    context: Context
    discovered: DiscoveredCluster
    hosts: dict[Host, Role] = field(default_factory=dict)
    local: Sequence[Host] = ()
    failures: dict[str, ClusterError] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.discovered.cluster

    def with_role(self, role: Role) -> list[Host]:
        """Return the hosts with a role, but for local ones."""
        return [host for host, host_role in self.hosts.items() if host_role is role and host not in self.local]


def _lock(run: Kill) -> None:
    for server in list(run.discovered.servers)[:1]:
        held = lock.hold(run.discovered.connections[server], run.cluster, run.context.operator)
        run.stack.callback(held.release)


def _list_hosts(run: Kill) -> None:
    """Find the hosts that did not answer: the engine's, those of the servers' lists, and the servers of the markers."""
    run.hosts = {host: marker.role for host, marker in run.discovered.markers.items()}
    run.local = _find_local_hosts(run)
    seen = set(run.discovered.by_address)
    for node in (*_ask_servers(run), *_servers_of_markers(run)):
        if node.address in seen:
            continue
        seen.add(node.address)
        try:
            run.hosts[_host_of(run, node)] = Role.SERVER if Role.SERVER in node.roles else Role.WORKER
        except UsageError:
            run.failures[node.name] = ClusterError(f"{node.name}: how it is reached is not known: name it by --hosts")


def _find_local_hosts(run: Kill) -> Sequence[Host]:
    try:
        return local_hosts.find(run.cluster).get(run.cluster, ())
    except ImageError as error:
        run.context.report.note(f"local hosts could not be asked for: {error}")
        return ()


def _ask_servers(run: Kill) -> tuple[Node, ...]:
    """Return the hosts that the engine and the servers' own lists name.

    Where the engine was started and is silent, and no server has a list, it is a failure: hosts may be left.
    """
    outcomes = parallel.run_on_hosts(members.read, run.discovered.server_connections)
    for failure in outcomes.failures.values():
        run.context.report.note(str(failure))
    listed = tuple(node for answer in outcomes.values.values() for node in answer.nodes)
    try:
        opened = open_discovered(run.context, run.discovered)
        with opened.engine() as engine:
            return (*engine.nodes(), *listed)
    except ClusterError as error:
        by_address = run.discovered.by_address
        beside = " and those that its servers list" if any(node.address not in by_address for node in listed) else ""
        run.context.report.note(f"only the hosts that were found{beside} are cleaned: {error}")
        if not listed and (outcomes.failures or any(answer.engine_started for answer in outcomes.values.values())):
            run.failures[run.cluster] = ClusterError(
                f"neither its engine nor a server says which hosts cluster {run.cluster} has: those that were found "
                "are cleaned, and others may be left: name them by --hosts"
            )
        return listed


def _servers_of_markers(run: Kill) -> tuple[Node, ...]:
    """Return the servers that the markers name; none of a cluster of local hosts, whose hosts are known."""
    if all(host in run.local for host in run.discovered.markers):
        return ()
    return tuple(Node(address, address, (Role.SERVER,), "unknown") for address in run.discovered.marker.servers)


def _host_of(run: Kill, node: Node) -> Host:
    """Return the host of a node that did not answer; UsageError where nothing says how it is reached."""
    by_name = {host.name: host for host in run.local}
    if node.name in by_name:
        return by_name[node.name]
    if node.name == node.address:  # of a server, a marker has no more
        return Host(node.address, run.context.user, run.context.port, run.context.key)
    return host_of(node, run.context)


def _clean(run: Kill, role: Role) -> None:
    script = load_provider(run.discovered.marker.provider).host_script()
    outcomes = clean_hosts(run.context, run.discovered, script, run.with_role(role), run.stack)
    run.failures.update(outcomes.failures)


def _destroy_local_hosts(run: Kill) -> None:
    if run.local:
        run.context.report.step("local hosts", "remove")
        local_hosts.destroy(run.cluster)
        run.context.report.done("local hosts", "removed")


def _all_hosts(run: Kill) -> Sequence[Host]:
    return list(run.hosts) or list(run.discovered.markers)


PHASES: tuple[Phase[Kill], ...] = (
    Phase("lock", "let no other operator change the cluster meanwhile", _lock, _all_hosts),
    Phase("hosts", "ask the engine which hosts there are", _list_hosts, _all_hosts),
    # The workers first: while a server lives, a kill that was cut off can find the rest again.
    Phase(
        "clean workers",
        "stop the engine, take away all that the cluster brought",
        lambda run: _clean(run, Role.WORKER),
        lambda run: run.with_role(Role.WORKER),
        _UNDO,
    ),
    Phase(
        "clean servers",
        "stop the engine, take away all that the cluster brought",
        lambda run: _clean(run, Role.SERVER),
        lambda run: run.with_role(Role.SERVER),
        _UNDO,
    ),
    Phase("local hosts", "remove the container", _destroy_local_hosts, lambda run: run.local, _UNDO),
)


def kill(context: Context, discovered: DiscoveredCluster, *, force: bool = False) -> None:
    """Clean every host of a cluster.

    Args:
        context: the operator's side.
        discovered: the cluster's hosts that answered.
        force: hosts that cannot be reached are no failure.

    Raises:
        LockedError: another operator is changing the cluster.
        HostsError: hosts that were not cleaned, each with its cause.
    """
    run = Kill(context, discovered)
    with run.stack:
        perform(PHASES, run)
    if run.failures and not force:
        raise HostsError(run.failures)
    for failure in run.failures.values():
        context.report.note(f"left as it is: {failure}")


def plan_kill(context: Context, discovered: DiscoveredCluster) -> tuple[PlannedStep, ...]:
    """Return what `kill` would do on each host; nothing is changed."""
    run = Kill(context, discovered)
    with run.stack:
        perform(checks(PHASES), run)
        for failure in run.failures.values():
            context.report.note(str(failure))
        return planned_steps(changes(PHASES), run)
