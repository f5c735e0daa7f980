"""Hosts are taken out of a cluster: their jobs move away, the engine forgets them, and they are left clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cloudmesh.cluster.core.cluster_spec import SERVER_COUNTS
from cloudmesh.cluster.core.errors import ClusterError, HostsError
from cloudmesh.cluster.core.model import Host, JobStatus, Node, Role
from cloudmesh.cluster.core.names import list_short
from cloudmesh.cluster.hosts import members
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.hosts.named_nodes import NamedNodes, describe
from cloudmesh.cluster.lifecycle.clean import clean_hosts
from cloudmesh.cluster.lifecycle.drain import move_jobs_away
from cloudmesh.cluster.lifecycle.phases import (
    OpenedRun,
    Phase,
    PlannedStep,
    changes,
    checks,
    lock_servers,
    perform,
    planned_steps,
)
from cloudmesh.cluster.lifecycle.servers import check_fewer_servers, forget, tell_hosts, with_servers
from cloudmesh.cluster.providers.base import SILENT, Engine
from cloudmesh.cluster.providers.open_cluster import OpenCluster
from cloudmesh.cluster.ssh import parallel

_MAX_SHOWN = 10
_UNDO = "add"


MoveData = Callable[[OpenCluster, Engine, Mapping[Host, tuple[Node, Sequence[str]]]], Mapping[Host, ClusterError]]
"""Takes the cluster, its engine, the node and the jobs of each host; returns the errors of those where it failed."""


@dataclass
class Removal(OpenedRun):
    """One run of `remove`.

    Attributes:
        opened: the cluster; once it is known which servers are to leave, as it is reached by the others.
        hosts: to take out, as the operator named them.
        move_data: copies what jobs left on hosts to a server.
        force: go on where jobs cannot be moved away, or what they left.
        agree: takes the question whether to go on, and raises ClusterError where the answer is no.
        nodes: what the hosts are, of those that have not failed; without an id where the engine has forgotten them.
        clean: the hosts that have been cleaned.
        engine: the cluster's.
    """

    hosts: Sequence[Host]
    move_data: MoveData
    force: bool = False
    agree: Callable[[str], None] | None = None
    nodes: dict[Host, Node] = field(default_factory=dict)
    clean: list[Host] = field(default_factory=list)
    engine: Engine = field(init=False)

    @property
    def servers(self) -> dict[Host, Node]:
        """Those of the nodes that are servers."""
        return {host: node for host, node in self.nodes.items() if Role.SERVER in node.roles}


def _identify(run: Removal) -> None:
    """Find which nodes the hosts are, also those that the engine has forgotten and that are not clean.

    Servers without which there is no majority are refused; of others, none is asked any more.
    """
    run.engine = run.stack.enter_context(run.opened.engine())
    nodes = run.engine.nodes()
    addresses = {node.address for node in nodes}
    left = [node for node in members.read(run.opened.server).nodes if node.address not in addresses]
    named = NamedNodes([*nodes, *left], run.opened.discovered, run.context)
    run.nodes = named.find_all(run.hosts)
    if run.servers:
        check_fewer_servers(run.cluster, nodes, run.servers)
        run.opened = run.opened.without([node.address for node in run.servers.values()], run.stack)
        run.engine = run.stack.enter_context(run.opened.engine())


def _agree(run: Removal) -> None:
    """Tell what becomes of the output and results that jobs have on the hosts, and ask."""
    jobs = run.engine.jobs()
    for host, node in run.nodes.items():
        if job_ids := _jobs_on(node, jobs):
            shown = list_short(job_ids, _MAX_SHOWN)
            fate = "are lost, as it is down" if node.status == "down" else f"move to {run.opened.server.host}"
            run.context.report.note(f"{host}: output and results that these jobs have there {fate}: {shown}")
    if run.agree:
        run.agree(f"Remove {', '.join(map(describe, run.nodes.values()))} from cluster {run.cluster}?")


def _drain(run: Removal) -> None:
    """Move jobs away; a host that cannot be drained stays in the cluster, unless forced."""
    outcomes = parallel.run_on_hosts(
        lambda node: _drain_node(run, node), {host: node for host, node in run.nodes.items() if node.id}
    )
    run.failures.update(outcomes.failures)
    run.nodes = {host: node for host, node in run.nodes.items() if not node.id or host in outcomes.values}


def _move_data(run: Removal) -> None:
    """Copy what jobs left on the hosts to the server; where that fails the host stays in the cluster, unless forced."""
    jobs = run.engine.jobs()
    jobs_by_host = {
        host: (node, job_ids)
        for host, node in run.nodes.items()
        if node.id and node.status != "down" and ((job_ids := _jobs_on(node, jobs)) or Role.SERVER in node.roles)
    }
    for host, error in run.move_data(run.opened, run.engine, jobs_by_host).items():
        node = run.nodes[host]
        if run.force:
            run.context.report.note(f"{node.name}: output and results of jobs there are lost: {error}")
            continue
        run.engine.end_drain(run.nodes.pop(host))
        run.failures[str(host)] = ClusterError(
            f"{node.name}: not removed, what jobs left there cannot be moved to {run.opened.server.host}: {error}; "
            "--force removes it, and that is lost"
        )


def _leave(run: Removal) -> None:
    """Take servers out of those that decide; what they would still say does not count."""
    for node in run.servers.values():
        run.engine.remove_server(node)


def _clean(run: Removal) -> None:
    """Clean the hosts; a local host that is stopped is a container, and goes."""
    script = run.opened.provider.host_script()
    gone = [host for host in run.nodes if host.address and local_hosts.remove_stopped(host.name)]
    for host in gone:
        run.context.report.done(str(host), "its container, which was stopped, is removed")
    others = [host for host in run.nodes if host not in gone]
    outcomes = clean_hosts(run.context, run.opened.discovered, script, others, run.stack)
    run.failures.update(outcomes.failures)
    run.clean = [*gone, *outcomes.values]


def _bar(run: Removal) -> None:
    """Keep out hosts that are not clean: what they still have of the cluster would let them in when they come back."""
    left = {host: node.address for host, node in run.nodes.items() if host not in run.clean and node.address}
    if not left:
        return
    outcomes = parallel.run_on_hosts(lambda server: members.bar(server, left.values()), run.opened.connected_servers)
    run.failures.update(outcomes.failures)
    for host, address in left.items():
        run.context.report.note(
            f"{host} still has certificates of the cluster: the servers let nothing in from {address}, and "
            f"`cms cluster rotate -n {run.cluster}` keeps it out at any other address too; "
            f"`cms cluster remove -n {run.cluster} {host}` cleans it when it is back"
        )


def _forget(run: Removal) -> None:
    """Take the hosts off the engine's list."""
    forget(run.engine, run.nodes.values())


def _tell_hosts(run: Removal) -> None:
    """Tell the hosts that stay which servers are left."""
    leaving = {node.address for node in run.servers.values()}
    spec = with_servers(run.opened.spec, [address for address in run.opened.spec.servers if address not in leaving])
    removed = {node.address for node in run.nodes.values()}
    discovered = run.opened.discovered
    staying = {host: discovered.connections[host] for at, host in discovered.by_address.items() if at not in removed}
    run.failures.update(tell_hosts(run.context, run.opened.provider, spec, staying))
    if len(spec.servers) < len(run.opened.spec.servers) and len(spec.servers) not in SERVER_COUNTS:
        run.context.report.note(
            f"{len(spec.servers)} servers are left, of which none may be lost: `cms cluster add -n {run.cluster} "
            "--server HOST` gives the cluster another one"
        )


def _strike(run: Removal) -> None:
    """Have the servers' own list forget the hosts that are clean."""
    addresses = [run.nodes[host].address for host in run.clean]
    outcomes = parallel.run_on_hosts(lambda server: members.drop(server, addresses), run.opened.connected_servers)
    run.failures.update(outcomes.failures)


def _named_hosts(run: Removal) -> Sequence[Host]:
    return list(run.nodes) or run.hosts


PHASES: tuple[Phase[Removal], ...] = (
    Phase("identify", "find which host is meant; a majority of the servers has to stay", _identify, _named_hosts),
    Phase("agree", "tell what becomes of output and results that jobs have there, and ask", _agree, _named_hosts),
    Phase("lock", "let no other operator change the cluster meanwhile", lock_servers, _named_hosts),
    Phase("drain", "move its jobs to other hosts, wait for those that cannot move", _drain, _named_hosts, _UNDO),
    Phase("move", "copy output and results of jobs there to a server", _move_data, _named_hosts, _UNDO),
    Phase("leave", "take a server out of those that decide", _leave, lambda run: list(run.servers), _UNDO),
    Phase("clean", "stop the engine, take away all that the cluster brought", _clean, _named_hosts, _UNDO),
    Phase("bar", "keep it out where it could not be cleaned", _bar, _named_hosts, _UNDO),
    Phase("forget", "take it off the engine's list of nodes", _forget, _named_hosts, _UNDO),
    Phase("tell", "tell the other hosts which servers are left", _tell_hosts, lambda run: list(run.servers), _UNDO),
    Phase("strike", "take it off the servers' list of hosts", _strike, _named_hosts, _UNDO),
)


def remove(
    opened: OpenCluster,
    hosts: Sequence[Host],
    move_data: MoveData,
    *,
    force: bool = False,
    agree: Callable[[str], None] | None = None,
) -> None:
    """Take `hosts` out of a cluster.

    Args:
        opened: the cluster.
        hosts: of it.
        move_data: copies what jobs left on hosts to a server.
        force: go on where jobs cannot be moved away, or what they left.
        agree: takes the question whether to go on, and raises ClusterError where the answer is no; None: go on.

    Raises:
        NotFoundError: a host is not of this cluster.
        UsageError: a host is named twice, or a server without which those that live are no majority.
        HostsError: hosts that were not drained, or not cleaned, each with its cause; those that were drained are off
            the engine's list all the same, and to remove them again cleans them.
    """
    run = Removal(opened, hosts, move_data, force, agree)
    with run.stack:
        perform(PHASES, run)
    if run.failures:
        raise HostsError(run.failures)


def plan_remove(opened: OpenCluster, hosts: Sequence[Host]) -> tuple[PlannedStep, ...]:
    """Return what `remove` would do on each host; nothing is changed."""
    run = Removal(opened, hosts, _move_nothing)
    with run.stack:
        perform(checks(PHASES), run)
        return planned_steps(changes(PHASES), run)


def _move_nothing(*_: object) -> Mapping[Host, ClusterError]:
    """Take the place of what moves data, where nothing is changed."""
    return {}


def _jobs_on(node: Node, jobs: Sequence[JobStatus]) -> list[str]:
    """Return the ids of the jobs that have, or had, tasks on a node."""
    return [job.id for job in jobs if {node.name, node.node} & set(job.hosts)]


def _drain_node(run: Removal, node: Node) -> None:
    run.context.report.step(node.name, "drain")
    try:
        # Kubernetes calls a host down after 40 s or more; who forces its removal need not wait for that.
        lost = move_jobs_away(run.engine, node, gone=("down", SILENT) if run.force else ("down",))
        if lost:
            run.context.report.note(
                f"{node.name}: it is down, and what these jobs ran there is lost: {', '.join(lost)}"
            )
    except ClusterError as error:
        if not run.force:
            raise ClusterError(
                f"{node.name}: not removed, its jobs cannot be moved away: {error}; --force removes it"
            ) from error
        run.context.report.note(f"{node.name}: {error}")
