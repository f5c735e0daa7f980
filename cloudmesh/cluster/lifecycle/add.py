"""Hosts join a cluster as workers; its jobs keep running."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.model import ClusterInfo, Host, Node
from cloudmesh.cluster.hosts import facts, named_nodes
from cloudmesh.cluster.hosts.named_nodes import NamedNodes
from cloudmesh.cluster.lifecycle import install, plan
from cloudmesh.cluster.lifecycle.install import (
    Installation,
    all_hosts,
    first_server,
    other_hosts,
    pending_hosts,
    pending_servers,
)
from cloudmesh.cluster.lifecycle.phases import Phase, PlannedStep, checks, perform, planned_steps
from cloudmesh.cluster.providers.open_cluster import OpenCluster

_UNDO = "remove"


def _lock(run: Installation) -> None:
    install.lock_in_order(run, [run.server, *run.connections.values()])


def _preflight(run: Installation) -> None:
    processor = facts.gather(run.server, ports=()).arch
    plan.check_hosts(run.facts, run.provider, run.spec, processor)
    plans = plan.plan_hosts(run.connections, run.facts, run.spec, joined=len(run.spec.servers))
    install.find_pending(run, plans)
    install.name_nodes(run)


PHASES: tuple[Phase[Installation], ...] = (
    Phase("connect", "log in and become root", install.connect, all_hosts),
    Phase("lock", "let no other operator change the cluster and the hosts meanwhile", _lock, all_hosts),
    Phase("facts", "ask what the host is", install.gather_facts, all_hosts),
    Phase("preflight", "find all that is wrong before any host is changed", _preflight, all_hosts),
    Phase("prepare", "install packages, start the container runtime", install.prepare, pending_hosts, _UNDO),
    # The first server is among the hosts only where it is named again because it is not ready.
    Phase("registry", "start the image registry", install.start_registry, pending_servers, _UNDO),
    Phase("binaries", "send the engine's binaries to the registry", install.deliver_binaries, first_server, _UNDO),
    Phase("bootstrap", "start the engine", install.bootstrap, first_server, _UNDO),
    Phase("join", "fetch the binaries, start the engine, join the cluster", install.join, other_hosts, _UNDO),
    Phase("ready", "wait until the engine calls the host ready", install.wait_until_ready, pending_hosts, _UNDO),
    Phase("volumes", "bring the cluster's volumes", install.mount_volumes, all_hosts, _UNDO),
)


def add(opened: OpenCluster, hosts: Sequence[Host]) -> ClusterInfo:
    """Let `hosts` join as workers; those that are in and healthy are left alone.

    Raises:
        LockedError: another operator is changing the cluster or a host.
        HostsError: hosts that failed, each with its cause; the others are in.
    """
    return install.install_hosts(PHASES, _start(opened, hosts), "these hosts")


def plan_add(opened: OpenCluster, hosts: Sequence[Host]) -> tuple[PlannedStep, ...]:
    """Return what `add` would do on each host; the hosts are looked at and nothing is changed."""
    run = _start(opened, hosts)
    with run.stack:
        perform(checks(PHASES), run)
        return planned_steps(PHASES, run)


def _start(opened: OpenCluster, hosts: Sequence[Host]) -> Installation:
    run = Installation(opened.context, opened.provider, opened.spec.cluster, _reach(opened, hosts))
    run.spec, run.server = opened.spec, opened.server
    return run


def _reach(opened: OpenCluster, hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Return the hosts as they are reached, where they are named as nodes; a silent engine is told of later."""
    nodes: tuple[Node, ...] = ()
    with suppress(ApiError), opened.engine() as engine:
        nodes = engine.nodes()
    return named_nodes.reach(hosts, NamedNodes(nodes, opened.discovered, opened.context))
