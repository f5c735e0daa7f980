"""What an upgrade finds out before any host is changed: which versions there are, and in which order hosts come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.cluster_spec import ClusterSpec
from cloudmesh.cluster.core.errors import ApiError, HostError, HostsError
from cloudmesh.cluster.core.model import Facts, Host, Marker, Node
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.hosts import discovery, facts, marker
from cloudmesh.cluster.lifecycle import credentials, versions
from cloudmesh.cluster.lifecycle.phases import OpenedRun
from cloudmesh.cluster.providers.base import IN_PLACE, Delivery
from cloudmesh.cluster.ssh import parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_PATIENCE_SECONDS = 60.0  # with hosts that have just been booted
_POLL_SECONDS = 1.0


@dataclass
class Upgrade(OpenedRun):
    """One run of `upgrade`.

    Attributes:
        wanted: the version that the operator asks for; empty: what new clusters get.
        agree: takes the question whether to go on, and raises ClusterError where the answer is no.
        target: the version that all hosts are to have.
        nodes: what the engine says of each host, before anything is changed.
        connections: to all hosts.
        facts: what each host says of itself.
        markers: of the hosts, as they are now.
        hosts: those that have to be upgraded, in their order.
        current: the one that is being upgraded.
        delivery: what the registry has of the new engine.
    """

    wanted: str = ""
    agree: Callable[[str], None] | None = None
    target: str = ""
    nodes: dict[Host, Node] = field(default_factory=dict)
    connections: Mapping[Host, Connection] = field(default_factory=dict)
    facts: Mapping[Host, Facts] = field(default_factory=dict)
    markers: dict[Host, Marker] = field(default_factory=dict)
    hosts: Sequence[Host] = ()
    current: Host = field(init=False)
    delivery: Delivery = field(default_factory=Delivery)

    @property
    def spec(self) -> ClusterSpec:
        """The cluster as it is to be."""
        return replace(self.opened.spec, version=self.target)


def identify(run: Upgrade) -> None:
    """Ask the engine, which may be starting, which hosts there are, and which version each of them runs."""

    def ask() -> Sequence[Node]:
        with run.opened.engine() as engine:
            return engine.nodes()

    nodes = retry(ask, lambda error: isinstance(error, ApiError), seconds=_PATIENCE_SECONDS)
    run.nodes = discovery.hosts_of(nodes, run.opened.discovered, run.context)


def gather_facts(run: Upgrade) -> None:
    """Ask every host what it is: one that cannot be asked cannot be upgraded, and then none is."""

    def ask(host: Host) -> tuple[Connection, Facts]:
        connection = discovery.connection_to(host, run.opened.discovered, run.context, run.stack)
        return connection, facts.gather(connection, ports=())

    answers = parallel.run_on_hosts(ask, {host: host for host in run.nodes}).or_raise()
    run.connections = {host: connection for host, (connection, _) in answers.items()}
    run.facts = {host: host_facts for host, (_, host_facts) in answers.items()}
    for host, host_facts in run.facts.items():
        if not host_facts.marker:
            raise HostError(str(host), f"it has no marker: run the create of cluster {run.cluster} again")
        run.markers[host] = marker.loads(host_facts.marker)


def plan(run: Upgrade) -> None:
    """Choose the version and the order of the hosts.

    Raises:
        UsageError: the version is not pinned, or the engine does not go there from what it has.
        ClusterError: the cluster's secrets are being rotated: a host would get half of them.
        HostsError: hosts that are not healthy; only those are let pass that an earlier run was at work on.
    """
    present = {node.version for node in run.nodes.values() if node.version}
    paused = {host_marker.version for host_marker in run.markers.values() if host_marker.paused}
    run.target = versions.choose_target(run.opened.spec, run.wanted, present | paused)
    run.hosts = order(run.nodes, run.markers, run.target, run.opened.spec.servers)
    if run.hosts:
        credentials.ensure_one_generation(run.opened.spec)
        _wait_for_health(run)


def _wait_for_health(run: Upgrade) -> None:
    """Wait for hosts that are not healthy yet, as after a boot; HostsError where they are not in time."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while sick := {
        host: node.status
        for host, node in run.nodes.items()
        if node.status not in IN_PLACE and not is_begun(node, run.markers[host], run.target)
    }:
        if time.monotonic() > deadline:
            raise HostsError({str(host): HostError(str(host), _describe_sick(run, host, sick[host])) for host in sick})
        for host, status in sick.items():
            run.context.report.step(str(host), f'wait until it is ready: it is "{status}"')
        time.sleep(_POLL_SECONDS)
        identify(run)


def _describe_sick(run: Upgrade, host: Host, status: str) -> str:
    return (
        f'it is "{status}", and a cluster is upgraded when all its hosts are ready: start it, or take it out by '
        f"`cms cluster remove -n {run.cluster} --force {host}`; nothing was changed"
    )


def is_begun(node: Node, host_marker: Marker, target: str) -> bool:
    """Return whether an earlier run was at work on a host, and did not come to the end of it."""
    return host_marker.paused or (host_marker.version == target and node.version != target)


def order(
    nodes: Mapping[Host, Node], markers: Mapping[Host, Marker], target: str, servers: Sequence[str]
) -> Sequence[Host]:
    """Return the hosts that have to be upgraded, in the order in which that is done.

    First what an earlier run has begun, so that no second host is out of use; then servers, in the cluster's order,
    since none of the others may be newer than they are; then workers by name.

    Args:
        nodes: what the engine says of each host.
        markers: of the hosts.
        target: the version that they are to have.
        servers: the servers' addresses.
    """

    def rank(host: Host) -> tuple[bool, int, str]:
        address = markers[host].address
        return (
            not is_begun(nodes[host], markers[host], target),
            servers.index(address) if address in servers else len(servers),
            nodes[host].name,
        )

    return sorted((host for host, node in nodes.items() if node.version != target or markers[host].paused), key=rank)


def agree(run: Upgrade) -> None:
    """Ask whether to go on, where somebody can be asked and something is to be done."""
    if run.agree and run.hosts:
        kind, present = run.opened.spec.provider, sorted({run.nodes[host].version for host in run.hosts})
        run.agree(
            f"Upgrade {len(run.hosts)} of {len(run.nodes)} hosts of cluster {run.cluster} from {kind} "
            f"{' and '.join(present)} to {run.target}? There is no way back."
        )
