"""What create and add do with hosts: they are connected, locked, looked at, and then installed, step by step.

Each function is the action of a phase (see `create.py` and `add.py` for their order) and may be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from cloudmesh.cluster import binaries
from cloudmesh.cluster.binaries import BinaryBundle
from cloudmesh.cluster.core.cluster_spec import ClusterSpec, HostPlan
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import (
    ApiError,
    ClusterError,
    HostError,
    HostsError,
    ImageError,
    UnreachableError,
    UsageError,
)
from cloudmesh.cluster.core.model import ClusterInfo, EngineState, Facts, Host, Node, Role
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.hosts import facts, lock, marker, members, volumes
from cloudmesh.cluster.images import delivery
from cloudmesh.cluster.images.build import build_builtin_image
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.lifecycle import node_names, plan
from cloudmesh.cluster.lifecycle.phases import Phase, changes, checks, perform
from cloudmesh.cluster.lifecycle.servers import tell_hosts
from cloudmesh.cluster.providers.base import Delivery, Engine, Provider
from cloudmesh.cluster.providers.open_cluster import describe, open_engine
from cloudmesh.cluster.ssh import parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_PREPARE_SECONDS = 900.0
_START_SECONDS = 900.0
_READY_SECONDS = 300.0
_POLL_SECONDS = 0.3
_SILENCE_SECONDS = 90.0  # a host's engine answers so long after its boot
# What the engine says of hosts that have all they need; the operator has told it to give some of them no jobs.
_IN_PLACE = ("ready", "draining", "drained")
_UNKNOWN_TO_ITSELF = (EngineState.NONE, EngineState.WIPED)


@dataclass
class Installation:
    """One run of `create` or `add`.

    Attributes:
        context: the operator's side.
        provider: of the cluster's kind.
        cluster: the cluster's name.
        hosts: to become part of it, servers first.
        images: of our images, those that are delivered too.
        stack: releases connections and locks at the end.
        connections: to the hosts.
        facts: what each host says of itself.
        spec: what the cluster is to be.
        started: whether the cluster's engine was ever started; the first host that starts it makes the cluster.
        members: connections to other hosts of the cluster.
        other_servers: those of `members` that are servers.
        server: the connection to a server, one with an engine where there is one; it may be one of the hosts or not.
        pending: plans of the hosts that the engine does not call ready, or that lack something it needs.
        stale: nodes that the engine has of pending hosts which know nothing of that any more: they were wiped.
        delivery: what the registry has of the engine, once it is known.
        failures: what went wrong, by host; the other hosts go on.
        binaries_in_progress: the engine's binaries, being fetched or built here.
        images_in_progress: tags of the images, being built here.
    """

    context: Context
    provider: Provider
    cluster: str
    hosts: Sequence[Host]
    images: Sequence[str] = ()
    stack: ExitStack = field(default_factory=ExitStack)
    connections: dict[Host, Connection] = field(default_factory=dict)
    facts: Mapping[Host, Facts] = field(default_factory=dict)
    spec: ClusterSpec = field(init=False)
    server: Connection = field(init=False)
    started: bool = False
    members: Mapping[Host, Connection] = field(default_factory=dict)
    other_servers: Mapping[Host, Connection] = field(default_factory=dict)
    pending: Sequence[HostPlan] = ()
    stale: Sequence[Node] = ()
    delivery: Delivery | None = None
    failures: dict[str, ClusterError] = field(default_factory=dict)
    binaries_in_progress: Future[BinaryBundle] | None = None
    images_in_progress: Future[list[str]] | None = None

    @property
    def first(self) -> list[HostPlan]:
        """The first server, if it has to make the cluster."""
        return [] if self.started else [host for host in self.pending if host.facts.address == self.spec.servers[0]]

    @property
    def server_plans(self) -> list[HostPlan]:
        """The pending servers."""
        return [host for host in self.pending if host.role is Role.SERVER]

    @property
    def others(self) -> list[HostPlan]:
        """The pending hosts that join, all but the one that makes the cluster."""
        return [host for host in self.pending if host not in self.first]

    def engine(self) -> AbstractContextManager[Engine]:
        """Open the engine's API for the length of a `with` block: of any server, once the first one is in place."""

        if self.first:
            return self.provider.open_engine(self.server, self.spec.secrets)
        return open_engine(self.provider, self.spec, self._servers, self.context.report)

    def registry(self) -> AbstractContextManager[Registry]:
        """Open the registry, on the first server on which it answers, for the length of a `with` block."""
        return delivery.open_registry(self.spec, self._servers, self.context.report)

    def _servers(self, _: ExitStack) -> Iterator[Connection]:
        """Yield the connections to servers that the run has."""
        yield self.server
        named = {host: self.connections[host] for host in self.facts if _is_server(self, host)}
        yield from (server for server in {**self.other_servers, **named}.values() if server is not self.server)

    def fail(self, host: str, error: ClusterError) -> None:
        """Take down that a host failed."""
        self.context.report.failed(host, error.cause if isinstance(error, HostError) else str(error))
        self.failures[host] = error


# --- checks: nothing is changed --------------------------------------------------------------------------------------


AnyInstallation = TypeVar("AnyInstallation", bound=Installation)


def install_hosts(phases: Sequence[Phase[AnyInstallation]], run: AnyInstallation, subject: str) -> ClusterInfo:
    """Perform all phases, and return the cluster as it is then.

    Args:
        phases: those of `create` or `add`.
        run: with its hosts, not connected yet.
        subject: what the hosts of the run are called where nothing has to be done: "all hosts".
    """
    report = run.context.report
    with run.stack:
        perform(checks(phases), run)
        if not run.pending:
            report.note(f"cluster {run.cluster}: {subject} are in and healthy, nothing to do")
        perform(changes(phases), run)
        info = describe(run.context, run.provider, run.spec, run.engine)
        if not info.nodes:
            raise ApiError(f"cluster {info.name} was made, and then its engine fell silent: run this again")
        report.note(f"cluster {info.name} is ready: {info.provider}, hosts {len(info.nodes)}")
        return info


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
    """
    if not run.started:
        run.pending = plan.plan_hosts(run.connections, run.facts, run.spec, servers_work=servers_work)
        return
    nodes = _ask_for_nodes(run)
    if servers := [node for node in nodes if Role.SERVER in node.roles]:
        servers_work = any(Role.WORKER in node.roles for node in servers)
    plans = plan.plan_hosts(run.connections, run.facts, run.spec, servers_work=servers_work)
    _refuse_promotion(run, plans, nodes)
    in_place = {node.address for node in nodes if node.status in _IN_PLACE}
    run.pending = [
        host for host in plans if host.facts.engine is not EngineState.STARTED or host.facts.address not in in_place
    ]
    wiped = {host.facts.address: host for host in run.pending if host.facts.engine in _UNKNOWN_TO_ITSELF}
    run.stale = [node for node in nodes if node.address in wiped]
    for node in run.stale:
        host = wiped[node.address].host
        run.context.report.note(f"{host}: it was wiped, and joins again as the {node.roles[0]} that it was")


def _refuse_promotion(run: Installation, plans: Sequence[HostPlan], nodes: Sequence[Node]) -> None:
    """Raise HostError where a host that is a worker is to become a server: it keeps its role as long as it is in."""
    workers = {node.address for node in nodes if Role.SERVER not in node.roles}
    for host in plans:
        if host.role is Role.SERVER and host.facts.address in workers:
            cause = f"it is a worker: take it out by `cms cluster remove -n {run.cluster} {host.host}`, and add it then"
            raise HostError(str(host.host), cause)


def tell_servers(run: Installation) -> None:
    """Tell the hosts of the cluster which servers it has, where they know fewer."""
    run.failures.update(tell_hosts(run.context, run.provider, run.spec, {**run.members, **run.connections}))


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
    for host_facts in run.facts.values():
        node = marker.node_of(host_facts.marker)
        # A copy of a machine may have the marker of the other.
        if node_names.is_fit(node) and node not in existing.values():
            existing[host_facts.address] = node
    started = any(host_facts.engine_started for host_facts in run.facts.values()) or not run.first
    if started and any(host.facts.address not in existing for host in run.pending):
        existing |= {node.address: node.node or node.name for node in _ask_for_nodes(run)}
    run.pending = node_names.name_nodes(run.pending, existing)


# --- changes ---------------------------------------------------------------------------------------------------------


def prepare(run: Installation) -> None:
    """Install packages and start the container runtime, while the binaries and the images are being made here."""
    if run.first:
        arch = run.pending[0].facts.arch
        run.binaries_in_progress = parallel.run_in_background(lambda: _provide_binaries(run, arch))
    elif run.pending:
        run.delivery = Delivery(plan.read_binary_digests(run.server))
    run.images_in_progress = parallel.run_in_background(
        lambda: [build_builtin_image(image, run.context) for image in run.images]
    )
    _remember(run)
    _run_step(run, "prepare", run.pending, _PREPARE_SECONDS)
    _note_members(run)


def start_registry(run: Installation) -> None:
    """Start the image registry on the servers."""
    _run_step(run, "registry", run.server_plans, _START_SECONDS)
    _stop_without_first_server(run)


def deliver_binaries(run: Installation) -> None:
    """Send the engine's binaries to the registry, from which the hosts fetch them.

    Raises:
        BinaryError: no source has the binaries.
        HostError: no server's registry took them.
    """
    if run.binaries_in_progress is None:
        return
    bundle = run.binaries_in_progress.result()
    try:
        with run.registry() as registry:
            run.delivery = run.provider.deliver(run.spec, run.server, registry, bundle, run.context.report)
    except ImageError as error:
        raise HostError(str(run.server.host), f"the engine could not be sent to it: {error}") from error


def bootstrap(run: Installation) -> None:
    """Start the engine on the first server and wait for it: agents that start without a leader wait long."""
    if not run.first:
        return
    _run_step(run, "bootstrap", run.first, _START_SECONDS)
    _run_step(run, "join", run.first, _START_SECONDS)
    _stop_without_first_server(run)
    try:
        _wait_for(run, lambda engine: bool(engine.nodes()), "the engine has no node yet")
    except ApiError as error:
        raise HostError(str(run.server.host), str(error)) from error


def forget_wiped(run: Installation) -> None:
    """Have the engine forget what pending hosts were that have nothing of it any more: they join under that name."""
    if not run.stale:
        return
    with run.engine() as engine:
        for node in run.stale:
            if Role.SERVER in node.roles:
                engine.remove_server(node)
            engine.remove_node(node)


def join(run: Installation) -> None:
    """Let the other hosts join."""
    if run.others:
        with run.provider.join_credentials(run.spec, run.server) as credentials:
            _run_step(run, "join", run.others, _START_SECONDS, credentials)


def wait_until_ready(run: Installation) -> None:
    """Wait until the engine calls every host ready; one whose connection is lost meanwhile has failed."""
    waiting = {host.facts.address: host for host in run.pending if str(host.host) not in run.failures}

    def all_ready(engine: Engine) -> bool:
        for node in engine.nodes():
            if node.status == "ready" and node.address in waiting:
                run.context.report.done(str(waiting.pop(node.address).host), "ready")
        for address, host in list(waiting.items()):
            if not run.connections[host.host].alive:
                del waiting[address]
                run.fail(str(host.host), _lost(host.host))
        return not waiting

    if not run.pending:
        return
    try:
        _wait_for(run, all_ready, "the engine does not call it ready")
    except ApiError as error:
        for host in waiting.values():
            run.failures[str(host.host)] = HostError(str(host.host), str(error))


def deliver_images(run: Installation) -> None:
    """Push the images that were asked for to the registry."""
    tags = run.images_in_progress.result() if run.images_in_progress else []
    if tags:
        with run.registry() as registry:
            for tag in tags:
                delivery.deliver_image(registry, tag, run.context.report)


def mount_volumes(run: Installation) -> None:
    """Bring the cluster's volumes to the hosts, also to those that had joined when they were cut off.

    Raises:
        HostsError: hosts failed in the phases until now; all others are in.
    """
    if run.failures:
        raise HostsError(run.failures)
    with run.engine() as engine:
        directories = [volume for volume in engine.volumes() if volume.directory]
        if not directories or not run.connections:
            return
        parallel.run_on_hosts(
            lambda connection: volumes.apply_on_host(connection, "add", directories, run.context), run.connections
        ).or_raise()
        for volume in directories:
            engine.put_volume(volume)


def _provide_binaries(run: Installation, arch: str) -> BinaryBundle:
    context = run.context
    return binaries.provide(run.spec.provider, arch=arch, mirror=context.mirror, report=context.report)


def _note_members(run: Installation) -> None:
    """Note on the servers which hosts have something of the cluster now, also those that failed halfway."""
    if not run.pending:
        return
    named = {host: run.connections[host] for host in run.facts if _is_server(run, host)}
    servers = {**run.other_servers, run.server.host: run.server, **named}
    # A server that joins later than others has to know those too.
    known = members.read(run.server) if run.started and run.server_plans else members.MemberList((), False)
    living = {host: connection for host, connection in servers.items() if str(host) not in run.failures}
    outcomes = parallel.run_on_hosts(lambda server: members.add(server, run.pending, known), living)
    run.failures.update(outcomes.failures)


def _is_server(run: Installation, host: Host) -> bool:
    return run.facts[host].address in run.spec.servers


def _stop_without_first_server(run: Installation) -> None:
    """Raise HostsError where the first server failed: without it there is no cluster."""
    if str(run.server.host) in run.failures:
        raise HostsError(run.failures)


def _run_step(
    run: Installation,
    verb: str,
    plans: Sequence[HostPlan],
    timeout: float,
    credentials: Mapping[str, bytes] | None = None,
) -> None:
    """Run a verb of the provider's host script on the hosts that have not failed."""
    script, delivered = run.provider.host_script(), run.delivery or Delivery()
    digests = "".join(f"{digest} {name}\n" for name, digest in delivered.digests.items()).encode()

    def run_on(host: HostPlan) -> None:
        files = {
            **plan.host_files(run.spec, host, run.provider.certificate_names(host.role), run.provider.needs().ports),
            **run.provider.host_files(run.spec, host, delivered),
            **(credentials or {}),
            "engine": digests,
        }
        try:
            run.connections[host.host].run(script, verb, files=files, timeout=timeout, report=run.context.report)
        except ClusterError as error:
            run.fail(str(host.host), error)

    going = {host.host: host for host in plans if str(host.host) not in run.failures}
    # What `run_on` does not expect is a failure of the host too.
    run.failures.update(parallel.run_on_hosts(run_on, going).failures)


def _remember(run: Installation) -> None:
    """Have clusters looked for on the hosts before anything is changed there: what is interrupted is found again."""
    for host, connection in run.connections.items():
        if not host.private_key:  # local hosts are found by their labels
            connection.remember()


def _wait_for(run: Installation, condition: Callable[[Engine], bool], otherwise: str) -> None:
    """Wait until `condition` is true of the engine.

    Raises:
        ApiError: it is not in time; the message is `otherwise`, or that the engine does not answer.
        UnreachableError: the connection to the server was lost.
    """
    deadline = time.monotonic() + _READY_SECONDS
    with run.engine() as engine:
        while True:
            why = otherwise
            try:
                if condition(engine):
                    return
            except ApiError as error:
                why = f"the engine does not answer: {error}"
            if not run.server.alive:
                raise _lost(run.server.host)
            if time.monotonic() > deadline:
                raise ApiError(f"{why} after {_READY_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)


def _lost(host: Host) -> UnreachableError:
    return UnreachableError(str(host), "the SSH connection was lost while the cluster was starting")


# --- on which hosts --------------------------------------------------------------------------------------------------


def all_hosts(run: Installation) -> Sequence[Host]:
    """Return all hosts of the run."""
    return run.hosts


def pending_hosts(run: Installation) -> Sequence[Host]:
    """Return the hosts that the engine does not call ready."""
    return [host.host for host in run.pending]


def wiped_hosts(run: Installation) -> Sequence[Host]:
    """Return the hosts that have nothing of the engine any more, which still has them."""
    addresses = {node.address for node in run.stale}
    return [host.host for host in run.pending if host.facts.address in addresses]


def first_server(run: Installation) -> Sequence[Host]:
    """Return the first server, if it has to make the cluster."""
    return [host.host for host in run.first]


def pending_servers(run: Installation) -> Sequence[Host]:
    """Return the servers that the engine does not call ready."""
    return [host.host for host in run.server_plans]


def other_hosts(run: Installation) -> Sequence[Host]:
    """Return the pending hosts that join."""
    return [host.host for host in run.others]
