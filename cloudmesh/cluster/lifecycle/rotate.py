"""A cluster gets new certificates, keys and tokens, while its jobs go on.

What lets hosts in exists twice for a while, see `ClusterSecrets`. Hosts trust both generations before the first of them
has a certificate of the new one, and the old one is dropped once all of them have: so that at every step all hosts
reach each other. Each host, and each server's secrets, say how far this has come, and the next run goes on from there.

Nothing is asked of the engine before its hosts have new certificates: it may be silent because the old ones expired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostError, HostsError, UsageError
from cloudmesh.cluster.core.model import Host, Marker, Node, Role
from cloudmesh.cluster.core.names import list_short
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.hosts import discovery, expiry, lock, members
from cloudmesh.cluster.hosts.expiry import HostCertificates
from cloudmesh.cluster.lifecycle import credentials
from cloudmesh.cluster.lifecycle.phases import OpenedRun, Phase, PlannedStep, changes, checks, perform, planned_steps
from cloudmesh.cluster.providers.open_cluster import OpenCluster, read_secrets
from cloudmesh.cluster.providers.rotation import EngineRotation, Stage
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_KEEP_SECONDS = 30.0
_STEP_SECONDS = 900.0
# Servers that could not reach each other, as their certificates had expired, have a leader again within this time.
_ENGINE_SECONDS = 90.0
# An agent that has lost its servers tries them again within this time.
_CHECK_SECONDS = 60.0
_MAX_SHOWN = 5
_UNDO = "rotate"
_UNFINISHED = "the rotation is not finished"

T = TypeVar("T")


@dataclass
class Rotation(OpenedRun):
    """One run of `rotate`.

    Attributes:
        engine: what is done with its engine.
        connections: to its hosts.
        markers: what each host is.
        kept_out: addresses of the hosts that were removed by force and are not clean.
        answers: what each host says of its certificates.
        secrets: the cluster's, as they are to be on the servers now.
    """

    engine: EngineRotation
    connections: dict[Host, Connection] = field(default_factory=dict)
    markers: dict[Host, Marker] = field(default_factory=dict)
    kept_out: frozenset[str] = frozenset()
    answers: dict[Host, HostCertificates] = field(default_factory=dict)
    secrets: ClusterSecrets = field(init=False)

    @property
    def spec(self) -> ClusterSpec:
        """The cluster with its secrets as they are now."""
        return replace(self.opened.spec, secrets=self.secrets)

    @property
    def newest(self) -> ClusterSecrets:
        """The secrets that are to be in force in the end."""
        return self.secrets.successor or self.secrets

    @property
    def now(self) -> float:
        """The time of the cluster, in seconds since the epoch: that of the host whose clock is behind the others."""
        return min(answer.clock for answer in self.answers.values())

    def with_role(self, role: Role) -> list[Host]:
        """Return the hosts with a role, servers in the order in which the cluster lists them."""
        order = {address: number for number, address in enumerate(self.opened.spec.servers)}
        hosts = [host for host, marker in self.markers.items() if marker.role is role]
        return sorted(hosts, key=lambda host: order.get(self.markers[host].address, len(order)))

    def behind(self, stage: Stage) -> list[Host]:
        """Return the hosts that have not come to a stage of this rotation."""
        reached = {f"{self.newest.rotation} {other}" for other in Stage if other >= stage}
        return [host for host in self.markers if self.answers[host].rotation not in reached]


# --- what is found out -----------------------------------------------------------------------------------------------


def _connect(run: Rotation) -> None:
    """Log in to every host of the cluster: one that was left out would be locked out."""
    nodes = _list_members(run)
    discovered = run.opened.discovered
    hosts = discovery.hosts_of(nodes, discovered, run.context)

    def reach(host: Host) -> tuple[Connection, Marker]:
        connection = discovery.connection_to(host, discovered, run.context, run.stack)
        marker = discovered.markers.get(host) or discovery.read_marker(connection)
        if marker is None or marker.id != run.opened.spec.id:
            raise HostError(str(host), "it has nothing of the cluster any more")
        return connection, marker

    outcomes = parallel.run_on_hosts(reach, {host: host for host in hosts})
    if outcomes.failures:
        _explain_failures(run, outcomes.failures, "nothing was changed")
        raise HostsError(outcomes.failures)
    run.connections = {host: connection for host, (connection, _) in outcomes.values.items()}
    run.markers = {host: marker for host, (_, marker) in outcomes.values.items()}


def _list_members(run: Rotation) -> Sequence[Node]:
    """Return the hosts that the engine, the servers' lists and the markers name, but for those that are kept out."""
    discovered = run.opened.discovered
    lists = parallel.run_on_hosts(members.read, run.opened.connected_servers).or_raise()
    run.kept_out = frozenset(address for answer in lists.values() for address in answer.barred)
    listed = [node for answer in lists.values() for node in answer.nodes]
    known: tuple[Node, ...] = ()
    try:
        with run.opened.engine() as engine:
            known = engine.nodes()
    except ApiError as error:
        if not listed:
            raise
        run.context.report.note(f"the hosts are those that the servers list, as the engine does not answer: {error}")
    by_address: dict[str, Node] = {}
    for node in (*known, *listed, *discovered.as_nodes()):
        if node.address not in run.kept_out:
            by_address.setdefault(node.address, node)
    return list(by_address.values())


def _lock(run: Rotation) -> None:
    """Lock every server, the first one before the others."""
    for server in run.with_role(Role.SERVER):
        run.stack.callback(lock.hold(run.connections[server], run.cluster, run.context.operator).release)


def _ask_hosts(run: Rotation) -> None:
    """Ask each host how far an earlier run has come there, and what its clock says."""
    run.answers = dict(parallel.run_on_hosts(expiry.read, run.connections).or_raise())


def _plan(run: Rotation) -> None:
    """Go on with a rotation that was begun, or begin one."""
    servers = {host: run.connections[host] for host in run.with_role(Role.SERVER)}
    stored = parallel.run_on_hosts(read_secrets, servers).or_raise()
    if obstacle := run.engine.obstacle(run.opened.spec.secrets):
        raise ClusterError(f"nothing of cluster {run.cluster} was changed: {obstacle}")
    run.secrets = most_advanced([secrets for secrets in stored.values() if secrets])
    if not run.secrets.are_rotated:
        new = credentials.next_generation(run.spec, run.opened.provider.new_secrets(), run.kept_out, run.now)
        run.secrets = replace(run.secrets, successor=new)


def most_advanced(stored: Iterable[ClusterSecrets]) -> ClusterSecrets:
    """Return of the secrets on several servers those of the furthest step: a run may have told some servers only."""
    return max(stored, key=lambda secrets: (secrets.predecessor is not None, secrets.successor is not None))


# --- what is changed -------------------------------------------------------------------------------------------------


def _keep(run: Rotation) -> None:
    """Keep the new secrets on every server, before the first host gets anything that was made by them."""
    _keep_secrets(run)


def _trust(run: Rotation) -> None:
    """Have every host trust both generations."""
    _bring(run, Stage.TRUST)


def _renew(run: Rotation) -> None:
    """Give every host a certificate of the new generation."""
    _bring(run, Stage.CERTIFICATES)


def _refresh(run: Rotation) -> None:
    """Have every host replace what the engine has made for tasks."""
    if run.engine.refreshes:
        _bring(run, Stage.REFRESHED)


def _adopt(run: Rotation) -> None:
    """Have the engine take the new secrets, and keep those that it has chosen itself."""
    if run.secrets.successor is None:
        return
    engine = _ask_engine(run, run.engine.adopt)
    run.secrets = replace(run.secrets, successor=replace(run.secrets.successor, engine=engine))
    _keep_secrets(run)


def _switch(run: Rotation) -> None:
    """Let commands use the new secrets from now on."""
    if run.secrets.successor is None:
        return
    run.secrets = replace(run.secrets.successor, predecessor=replace(run.secrets, successor=None))
    _keep_secrets(run)


def _revoke(run: Rotation) -> None:
    """Have the engine refuse the old secrets."""
    _ask_engine(run, run.engine.revoke)


def _drop(run: Rotation) -> None:
    """Have every host trust the new generation alone."""
    _bring(run, Stage.DROPPED)


def _check(run: Rotation) -> None:
    """Wait until the engine reaches every host; HostsError: those that it does not."""
    hosts = {marker.address: host for host, marker in run.markers.items()}

    def ask() -> None:
        silent = _ask_engine(run, run.engine.silent_nodes)
        errors = {
            str(hosts[address]): HostError(str(hosts[address]), f"the engine does not reach it: {why}")
            for address, why in silent.items()
            if address in hosts
        }
        if errors:
            raise HostsError(errors)

    try:
        retry(ask, lambda error: isinstance(error, HostsError), seconds=_CHECK_SECONDS)
    except HostsError as error:
        _explain_failures(run, error.failures, _UNFINISHED)
        raise


def _finish(run: Rotation) -> None:
    """Delete the old secrets, and with them all that says that there is a rotation."""
    run.secrets = replace(run.secrets, predecessor=None)
    _keep_secrets(run)


def _bring(run: Rotation, stage: Stage) -> None:
    """Bring every host to a stage: servers one after the other, so that most of them live, and then the others at once.

    Raises:
        HostsError: hosts that were not brought there, without which the rotation does not go on.
    """
    behind = run.behind(stage)
    script = run.opened.provider.host_script()
    now = run.now

    def bring(host: Host) -> None:
        files = _stage_files(run, run.markers[host], stage, now)
        report = run.context.report
        run.connections[host].run(script, "rotate", files=files, timeout=_STEP_SECONDS, report=report)
        report.done(str(host), str(stage))

    servers = [host for host in run.with_role(Role.SERVER) if host in behind]
    workers = [host for host in run.with_role(Role.WORKER) if host in behind]
    for group in (*([server] for server in servers), workers):
        run.failures.update(parallel.run_on_hosts(bring, {host: host for host in group}).failures)
        if run.failures:
            _explain_failures(run, run.failures, _UNFINISHED)
            raise HostsError(run.failures)


def _stage_files(run: Rotation, host: Marker, stage: Stage, now: float) -> dict[str, bytes]:
    """Return the inputs of the host script that bring a host to a stage."""
    dropped = stage is Stage.DROPPED
    trusted = replace(run.secrets, predecessor=None) if dropped else run.secrets
    files = {
        "registry": run.spec.registry.encode(),
        "rotation": f"{run.newest.rotation} {stage}".encode(),
        **credentials.trust_files(trusted, host.role),
    }
    if stage is Stage.CERTIFICATES:
        names = run.opened.provider.certificate_names(host.role)
        files |= credentials.certificate_files(run.newest.authority, host, names, now)
    return {**files, **run.engine.files(run.spec, host, stage, now)}


def _keep_secrets(run: Rotation) -> None:
    """Write the secrets on every server; HostsError: servers where that failed."""
    script, files = host_script.load(*expiry.SCRIPT), {"etc/secrets.json": run.secrets.dumps()}
    servers = {host: run.connections[host] for host in run.with_role(Role.SERVER)}
    outcomes = parallel.run_on_hosts(
        lambda server: server.run(script, "keep", files=files, timeout=_KEEP_SECONDS), servers
    )
    if outcomes.failures:
        _explain_failures(run, outcomes.failures, _UNFINISHED)
        raise HostsError(outcomes.failures)


def _ask_engine(run: Rotation, ask: Callable[[Connection, ClusterSpec], T]) -> T:
    """Return what the engine answers, on the first server where it does, once it does; ApiError: it does not."""

    def ask_servers() -> T:
        *others, last = (run.connections[host] for host in run.with_role(Role.SERVER))
        for server in others:
            with suppress(ApiError):
                return ask(server, run.spec)
        return ask(last, run.spec)

    return retry(ask_servers, lambda error: isinstance(error, ApiError), seconds=_ENGINE_SECONDS)


def _explain_failures(run: Rotation, failures: Mapping[str, ClusterError], state: str) -> None:
    first = next(iter(failures))
    hosts = list_short(list(failures), _MAX_SHOWN)
    run.context.report.note(
        f"{state}: once {hosts} can be reached and is well, `cms cluster rotate -n {run.cluster}` goes on; a host that "
        f"does not come back is taken out by `cms cluster remove -n {run.cluster} --force {first}` before"
    )


# --- the phases ------------------------------------------------------------------------------------------------------


def _all_hosts(run: Rotation) -> Sequence[Host]:
    return list(run.markers) or list(run.opened.discovered.markers)


def _refreshed_hosts(run: Rotation) -> Sequence[Host]:
    return _all_hosts(run) if run.engine.refreshes else ()


def _servers(run: Rotation) -> Sequence[Host]:
    return run.with_role(Role.SERVER)


def _first_server(run: Rotation) -> Sequence[Host]:
    return run.with_role(Role.SERVER)[:1]


PHASES: tuple[Phase[Rotation], ...] = (
    Phase("connect", "log in; a host that does not answer stops the rotation", _connect, _all_hosts),
    Phase("lock", "let no other operator change the cluster meanwhile", _lock, _all_hosts),
    Phase("facts", "ask which certificates the host has, and how far a rotation has come", _ask_hosts, _all_hosts),
    Phase("plan", "make new secrets; a rotation that was begun is gone on with", _plan, _all_hosts),
    Phase("keep", "keep the new secrets beside those in force", _keep, _servers, _UNDO),
    Phase("trust", "trust the old and the new authorities", _trust, _all_hosts, _UNDO),
    Phase("renew", "get certificates of the new authorities", _renew, _all_hosts, _UNDO),
    Phase("refresh", "replace the tokens of tasks", _refresh, _refreshed_hosts, _UNDO),
    Phase("reach", "ask the engine whether it reaches the host by these", _check, _all_hosts, _UNDO),
    Phase("adopt", "have the engine take the new keys and tokens too", _adopt, _first_server, _UNDO),
    Phase("switch", "put the new secrets in force", _switch, _servers, _UNDO),
    Phase("revoke", "have the engine refuse the old keys and tokens", _revoke, _first_server, _UNDO),
    Phase("drop", "trust the new authorities alone", _drop, _all_hosts, _UNDO),
    Phase("check", "ask the engine whether it still reaches the host", _check, _all_hosts, _UNDO),
    Phase("finish", "delete the old secrets", _finish, _servers, _UNDO),
)


def rotate(opened: OpenCluster) -> None:
    """Give a cluster new certificates, keys and tokens; a client or host that has old ones is refused then.

    Where a host was removed by force after an earlier run had begun, that run is finished and another one follows, as
    the host may have been given some of the new ones.

    Raises:
        UsageError: the cluster's engine has no way to replace its credentials.
        LockedError: another operator is changing the cluster.
        HostsError: hosts that do not answer or that failed, each with its cause; nothing old was dropped.
        ApiError: the engine does not answer.
    """
    while True:
        run = _start(opened)
        with run.stack:
            perform(PHASES, run)
        opened = replace(opened, spec=run.spec)
        if run.kept_out <= set(run.secrets.kept_out):
            break
        run.context.report.note("a host was removed by force since the rotation was begun: another one follows")
    run.context.report.note(f"cluster {run.cluster} has new certificates, keys and tokens; the old ones are refused")


def plan_rotate(opened: OpenCluster) -> tuple[PlannedStep, ...]:
    """Return what `rotate` would do on each host; nothing is changed."""
    run = _start(opened)
    with run.stack:
        perform(checks(PHASES), run)
        return planned_steps(changes(PHASES), run)


def _start(opened: OpenCluster) -> Rotation:
    engine = opened.provider.rotation()
    if engine is None:
        raise UsageError(
            f"cluster {opened.spec.cluster} is of {opened.provider.kind}, whose certificates `rotate` cannot replace "
            "yet: nothing was changed"
        )
    return Rotation(opened, engine)
