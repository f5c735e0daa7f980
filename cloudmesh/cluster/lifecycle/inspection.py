"""What create and add find out before any host is changed; each function is the action of a phase."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.cluster_spec import HostPlan
from cloudmesh.cluster.core.errors import (
    ApiError,
    HostError,
    UsageError,
)
from cloudmesh.cluster.core.model import EngineState, Facts, Host, Node, Role
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.hosts import facts, lock, marker
from cloudmesh.cluster.lifecycle import credentials, node_names, plan, versions
from cloudmesh.cluster.lifecycle.installation import Installation
from cloudmesh.cluster.providers.base import IN_PLACE, SILENT
from cloudmesh.cluster.ssh import parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_POLL_SECONDS = 1.0
_SILENCE_SECONDS = 90.0  # a host's engine answers so long after its boot


def connect(run: Installation) -> None:
    """Log in to every host and become root.

    Raises:
        HostsError: hosts that cannot be reached or logged in to, all of them.
        UsageError: two names lead to the same login.
    """
    for host in run.hosts:
        run.context.report.step(str(host), "connect")
    outcomes = parallel.connect_all(run.hosts, run.context.settings)
    for connection in outcomes.values.values():
        run.stack.callback(connection.close)
    connected = outcomes.or_raise()
    run.connections = {host: connected[host] for host in run.hosts}
    _refuse_one_login_twice(run.connections)


def _refuse_one_login_twice(connections: Mapping[Host, Connection]) -> None:
    """Raise UsageError where two names, such as aliases, lead to one login; locks tell of other ways to one machine."""
    names: dict[tuple[str, str], Host] = {}
    for host, connection in connections.items():
        first = names.setdefault((connection.contact, connection.host_key), host)
        if first != host:
            raise UsageError(f"{first} and {host} are the same login, {connection.contact}, given twice: name it once")


def lock_hosts(run: Installation) -> None:
    """Lock the hosts, the first one before the others: of two operators with the same list exactly one wins."""
    lock_in_order(run, list(run.connections.values()))


def lock_in_order(run: Installation, connections: Sequence[Connection]) -> None:
    """Lock the first of the connected hosts, and then the others.

    Raises:
        LockedError: another operator is changing the cluster or one of the hosts.
    """
    first, *others = connections
    run.stack.callback(lock.hold(first, run.cluster, run.context.operator).release)
    outcomes = parallel.run_on_hosts(
        lambda connection: lock.hold(connection, run.cluster, run.context.operator),
        {connection.host: connection for connection in others},
    )
    for held in outcomes.values.values():
        run.stack.callback(held.release)
    outcomes.or_raise()


def gather_facts(run: Installation) -> None:
    """Ask each host what it is."""
    ports, interface = run.provider.needs().ports, run.context.interface
    run.facts = parallel.run_on_hosts(
        lambda connection: facts.gather(connection, ports=ports, interface=interface), run.connections
    ).or_raise()


def find_pending(run: Installation, servers_work: bool) -> None:
    """Find the hosts that the engine does not call ready, or that lack something it needs; the others are left alone.

    The hosts themselves say whether the engine was ever started. If it was, it must answer.

    Args:
        run: with the facts of its hosts.
        servers_work: whether servers take jobs; where the cluster has servers, a new one does as they do.

    Raises:
        HostError: the engine was started, and does not answer; or a worker is to be a server.
        ClusterError: there are pending hosts, and the servers have several versions, or the secrets are being rotated.
    """
    if not run.started:
        run.pending = plan.plan_hosts(run.connections, run.facts, run.spec, servers_work=servers_work)
        return
    nodes = _wait_for_news(run)
    if servers := [node for node in nodes if Role.SERVER in node.roles]:
        servers_work = any(Role.WORKER in node.roles for node in servers)
    plans = plan.plan_hosts(run.connections, run.facts, run.spec, servers_work=servers_work)
    _refuse_promotion(run, plans, nodes)
    in_place = {node.address for node in nodes if node.status in IN_PLACE}
    run.pending = [
        host for host in plans if host.facts.engine is not EngineState.STARTED or host.facts.address not in in_place
    ]
    run.spec = replace(run.spec, version=versions.version_of(nodes, run.spec, between=not run.pending))
    if run.pending:
        credentials.ensure_one_generation(run.spec)
    wiped = {host.facts.address: host for host in run.pending if _was_wiped(host.facts)}
    run.stale = [node for node in nodes if node.address in wiped]
    for node in run.stale:
        host = wiped[node.address].host
        run.context.report.note(f"{host}: it was wiped, and joins again as the {node.roles[0]} that it was")


def _was_wiped(host_facts: Facts) -> bool:
    """Return whether a host has nothing of the engine any more; one with a marker has begun to join, and goes on."""
    is_new = host_facts.engine is EngineState.NONE and not host_facts.marker
    return is_new or host_facts.engine is EngineState.WIPED


def _refuse_promotion(run: Installation, plans: Sequence[HostPlan], nodes: Sequence[Node]) -> None:
    """Raise HostError where a host that is a worker is to become a server: it keeps its role as long as it is in."""
    workers = {node.address for node in nodes if Role.SERVER not in node.roles}
    for host in plans:
        if host.role is Role.SERVER and host.facts.address in workers:
            cause = f"it is a worker: take it out by `cms cluster remove -n {run.cluster} {host.host}`, and add it then"
            raise HostError(str(host.host), cause)


def _wait_for_news(run: Installation) -> Sequence[Node]:
    """Return the engine's nodes, once it has heard of all hosts of the run, or has called them down.

    A host that has just booted is neither healthy nor to be installed again.
    """
    addresses = {host_facts.address for host_facts in run.facts.values()}
    deadline = time.monotonic() + _SILENCE_SECONDS
    while True:
        nodes = _ask_for_nodes(run)
        silent = any(node.status == SILENT for node in nodes if node.address in addresses)
        if not silent or time.monotonic() > deadline:
            return nodes
        time.sleep(_POLL_SECONDS)


def _ask_for_nodes(run: Installation) -> Sequence[Node]:
    """Return the engine's nodes, waiting for an engine that is starting, as after a boot of its host.

    Raises:
        HostError: it does not answer.
    """

    def ask() -> Sequence[Node]:
        with run.engine() as engine:
            return engine.nodes()

    run.context.report.step(run.cluster, "ask the engine for its hosts")
    try:
        return retry(ask, lambda error: isinstance(error, ApiError), seconds=_SILENCE_SECONDS)
    except ApiError as error:
        raise HostError(
            str(run.server.host),
            f"the engine of cluster {run.cluster} does not answer here, so that nothing was changed: {error}. "
            "Start what has stopped (systemctl list-units --all 'cloudmesh-*' shows it there), and run this again",
        ) from error


def name_nodes(run: Installation) -> None:
    """Choose the names of the pending hosts' nodes; the engine and the hosts' markers say which there are.

    Raises:
        ApiError: the engine of a cluster that is there does not answer.
    """
    existing: dict[str, str] = {}
    taken = run.snapshot.taken_names if run.snapshot else ()
    for host_facts in run.facts.values():
        node = marker.node_of(host_facts.marker)
        # A copy of a machine may have the marker of the other.
        if node_names.is_fit(node) and node not in existing.values():
            existing[host_facts.address] = node
    started = any(host_facts.engine_started for host_facts in run.facts.values()) or not run.first
    if started and any(host.facts.address not in existing for host in run.pending):
        existing |= {node.address: node.node or node.name for node in _ask_for_nodes(run)}
    run.pending = node_names.name_nodes(run.pending, existing, taken)
