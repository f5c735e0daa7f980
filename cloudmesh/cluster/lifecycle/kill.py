"""A cluster is taken apart: jobs, agents, packages and files that it brought go, on every host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostsError
from cloudmesh.cluster.core.model import Host, Node, Role
from cloudmesh.cluster.hosts import lock
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, host_of
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.lifecycle.clean import clean_hosts
from cloudmesh.cluster.lifecycle.phases import Phase, PlannedStep, changes, checks, perform, planned_steps
from cloudmesh.cluster.providers import load_provider
from cloudmesh.cluster.providers.open_cluster import open_discovered

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
    """Ask the engine for hosts that did not answer; where it is silent, only those that did are cleaned."""
    run.hosts = {host: marker.role for host, marker in run.discovered.markers.items()}
    by_address = run.discovered.by_address
    for node in _nodes(run):
        if node.address not in by_address:
            run.hosts[host_of(node, run.context)] = Role.SERVER if Role.SERVER in node.roles else Role.WORKER
    run.local = local_hosts.find(run.cluster).get(run.cluster, ())


def _nodes(run: Kill) -> tuple[Node, ...]:
    try:
        opened = open_discovered(run.context, run.discovered)
        with opened.engine() as engine:
            return engine.nodes()
    except ClusterError as error:
        run.context.report.note(f"only the hosts that were found are cleaned: {error}")
        return ()


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
        return planned_steps(changes(PHASES), run)
