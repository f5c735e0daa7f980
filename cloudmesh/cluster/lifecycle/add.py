"""Hosts join a cluster, as workers or as servers; its jobs keep running."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.model import ClusterInfo, Host, Node
from cloudmesh.cluster.hosts import facts, named_nodes
from cloudmesh.cluster.hosts.named_nodes import NamedNodes
from cloudmesh.cluster.lifecycle import inspection, install, plan
from cloudmesh.cluster.lifecycle.installation import (
    Installation,
    all_hosts,
    first_server,
    other_hosts,
    pending_hosts,
    pending_servers,
    wiped_hosts,
)
from cloudmesh.cluster.lifecycle.phases import Phase, PlannedStep, checks, perform, planned_steps
from cloudmesh.cluster.lifecycle.servers import check_more_servers
from cloudmesh.cluster.providers.open_cluster import OpenCluster

_UNDO = "remove"


@dataclass
class Addition(Installation):
    """One run of `add`.

    Attributes:
        as_servers: whether hosts that are new become servers.
    """

    as_servers: bool = False


def _lock(run: Addition) -> None:
    inspection.lock_in_order(run, [run.server, *run.connections.values()])


def _preflight(run: Addition) -> None:
    server = facts.gather(run.server, ports=())
    run.started = server.engine_started
    if run.as_servers:
        run.spec = check_more_servers(run.spec, [host_facts.address for host_facts in run.facts.values()])
    plan.check_hosts(run.facts, run.provider, run.spec, server.arch)
    inspection.find_pending(run, servers_work=len(run.spec.servers) == 1)
    inspection.name_nodes(run)


PHASES: tuple[Phase[Addition], ...] = (
    Phase("connect", "log in and become root", inspection.connect, all_hosts),
    Phase("lock", "let no other operator change the cluster and the hosts meanwhile", _lock, all_hosts),
    Phase("facts", "ask what the host is", inspection.gather_facts, all_hosts),
    Phase("preflight", "find all that is wrong before any host is changed", _preflight, all_hosts),
    Phase("prepare", "install packages, start the container runtime", install.prepare, pending_hosts, _UNDO),
    # The first server is among the hosts only where it is named again because it is not ready.
    Phase("registry", "start the image registry", install.start_registry, pending_servers, _UNDO),
    Phase("binaries", "send the engine's binaries to the registry", install.deliver_binaries, first_server, _UNDO),
    Phase("bootstrap", "start the engine", install.bootstrap, first_server, _UNDO),
    Phase("forget", "have the engine forget a host that was wiped", install.forget_wiped, wiped_hosts, _UNDO),
    Phase("join", "fetch the binaries, start the engine, join the cluster", install.join, other_hosts, _UNDO),
    Phase("ready", "wait until the engine calls the host ready", install.wait_until_ready, pending_hosts, _UNDO),
    Phase("tell", "tell the cluster's hosts which servers it has", install.tell_servers, all_hosts, _UNDO),
    Phase("volumes", "bring the cluster's volumes", install.mount_volumes, all_hosts, _UNDO),
)


def add(opened: OpenCluster, hosts: Sequence[Host], *, as_servers: bool = False) -> ClusterInfo:
    """Let `hosts` join; those that are in and healthy are left alone.

    Args:
        opened: the cluster.
        hosts: to join.
        as_servers: whether they become servers; otherwise workers.

    Raises:
        UsageError: the cluster would have a number of servers of which no majority is always clear.
        LockedError: another operator is changing the cluster or a host.
        HostsError: hosts that failed, each with its cause; the others are in.
    """
    return install.install_hosts(PHASES, _start(opened, hosts, as_servers), "these hosts")


def plan_add(opened: OpenCluster, hosts: Sequence[Host], *, as_servers: bool = False) -> tuple[PlannedStep, ...]:
    """Return what `add` would do on each host; the hosts are looked at and nothing is changed."""
    run = _start(opened, hosts, as_servers)
    with run.stack:
        perform(checks(PHASES), run)
        return planned_steps(PHASES, run)


def _start(opened: OpenCluster, hosts: Sequence[Host], as_servers: bool) -> Addition:
    run = Addition(opened.context, opened.provider, opened.spec.cluster, _reach(opened, hosts), as_servers=as_servers)
    run.spec, run.server = opened.spec, opened.server
    run.members = opened.discovered.connections
    run.other_servers = opened.discovered.server_connections
    return run


def _reach(opened: OpenCluster, hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Return the hosts as they are reached, where they are named as nodes; a silent engine is told of later."""
    nodes: tuple[Node, ...] = ()
    with suppress(ApiError), opened.engine() as engine:
        nodes = engine.nodes()
    return named_nodes.reach(hosts, NamedNodes(nodes, opened.discovered, opened.context))
