"""The engine of a cluster goes to another version, host after host, servers first, while its jobs go on.

Before anything is changed on a host, the host notes in its marker which version it is to run, and whether the engine
was told to send it no jobs: an upgrade that was cut off is finished by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from cloudmesh.cluster import binaries
from cloudmesh.cluster.core.cluster_spec import HostPlan
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostError, HostsError, ImageError
from cloudmesh.cluster.core.model import Host, Role
from cloudmesh.cluster.hosts import marker
from cloudmesh.cluster.lifecycle import upgrade_plan, versions
from cloudmesh.cluster.lifecycle.drain import move_jobs_away
from cloudmesh.cluster.lifecycle.phases import Phase, PlannedStep, lock_servers, perform, planned_steps
from cloudmesh.cluster.lifecycle.upgrade_plan import Upgrade
from cloudmesh.cluster.providers.base import IN_PLACE, OUT_OF_USE, Engine
from cloudmesh.cluster.providers.open_cluster import OpenCluster
from cloudmesh.cluster.ssh import host_script

_MARK_SECONDS = 30.0
_UPGRADE_SECONDS = 1800.0
_HEALTHY_SECONDS = 300.0
_POLL_SECONDS = 0.4
_UNDO = "none: the same command again finishes it"


def _deliver(run: Upgrade) -> None:
    """Send the new engine to the registry, before any host is changed.

    Raises:
        BinaryError: no source has it.
        HostError: no server's registry took it.
    """
    context, server = run.context, run.opened.server
    arch = next(iter(run.facts.values())).arch
    bundle = binaries.provide(
        run.spec.provider, version=run.target, arch=arch, mirror=context.mirror, report=context.report
    )
    try:
        with run.opened.registry() as registry:
            run.delivery = run.opened.provider.deliver(run.spec, server, registry, bundle, context.report)
    except ImageError as error:
        raise HostError(str(server.host), f"the engine could not be sent to it: {error}") from error


def _pause(run: Upgrade) -> None:
    """Have the host get no more jobs, unless the operator has seen to that; where they have to leave, wait for it."""
    host, node = run.current, run.nodes[run.current]
    was_paused = run.markers[host].paused
    _mark(run, paused=was_paused or node.status not in OUT_OF_USE)
    if node.status not in IN_PLACE:
        return  # an earlier run was at work there
    with run.opened.engine() as engine:
        if _has_to_be_empty(run):
            run.context.report.step(str(host), "drain")
            move_jobs_away(engine, node)
        elif run.markers[host].paused:
            engine.cordon(node)


def _has_to_be_empty(run: Upgrade) -> bool:
    version = run.nodes[run.current].version
    return run.opened.provider.empties_for_minor and versions.is_minor_step(version, run.target)


def _upgrade(run: Upgrade) -> None:
    host, provider = run.current, run.opened.provider
    host_plan = _plan_of(run, host)
    servers = [node for node in run.nodes.values() if Role.SERVER in node.roles]
    files = {
        "etc/marker.json": marker.dumps(run.markers[host]),
        "address": host_plan.facts.address.encode(),
        "registry": run.spec.registry.encode(),
        "engine": host_script.lines(f"{digest} {name}" for name, digest in run.delivery.digests.items()),
        **provider.host_files(run.spec, host_plan, run.delivery),
        # The first server that gets the version brings what the whole cluster needs once.
        **({} if any(server.version == run.target for server in servers) else {"leads": b""}),
    }
    report = run.context.report
    run.connections[host].run(provider.host_script(), "upgrade", files=files, timeout=_UPGRADE_SECONDS, report=report)


def _plan_of(run: Upgrade, host: Host) -> HostPlan:
    """Return what a host is: as it is, but for the version."""
    host_marker, node = run.markers[host], run.nodes[host]
    host_facts = replace(run.facts[host], address=host_marker.address)
    takes_jobs = Role.WORKER in node.roles
    name = host_marker.node or node.node
    return HostPlan(host, host_facts, host_marker.role, takes_jobs, node.contact, node.host_key, name)


def _wait_until_healthy(run: Upgrade) -> None:
    """Wait until the engine says that the host runs the version, and is in place with it."""
    address = run.markers[run.current].address

    def runs_it(engine: Engine) -> str:
        node = next((node for node in engine.nodes() if node.address == address), None)
        if node is None:
            return "the engine does not know it"
        if node.version != run.target:
            return f"it runs {node.version}"
        if node.status not in IN_PLACE:
            return f'it is "{node.status}"'
        run.nodes[run.current] = node
        return ""

    _wait_for(run, runs_it)


def _resume(run: Upgrade) -> None:
    """Let the host have jobs again, unless it had none by the operator's will."""
    if not run.markers[run.current].paused:
        return
    node = run.nodes[run.current]

    def is_ready(engine: Engine) -> str:
        status = next((other.status for other in engine.nodes() if other.id == node.id), "missing")
        if status in OUT_OF_USE:
            engine.end_drain(node)
        return "" if status == "ready" else f'it is "{status}"'

    _wait_for(run, is_ready)
    _mark(run, paused=False)
    run.context.report.done(str(run.current), f"{run.spec.provider} {run.target}")


def _mark(run: Upgrade, *, paused: bool) -> None:
    """Write the marker of the host that is being upgraded."""
    host = run.current
    run.markers[host] = replace(run.markers[host], version=run.target, paused=paused)
    script, files = host_script.load("host/lib.sh", "host/mark.sh"), {"marker.json": marker.dumps(run.markers[host])}
    run.connections[host].run(script, files=files, timeout=_MARK_SECONDS)


def _wait_for(run: Upgrade, lacks: Callable[[Engine], str]) -> None:
    """Wait until `lacks` says that nothing is lacking; the engine may be silent meanwhile, as its servers start again.

    Raises:
        HostError: it is not so in time.
    """
    deadline = time.monotonic() + _HEALTHY_SECONDS
    while True:
        try:
            with run.opened.engine() as engine:
                cause = lacks(engine)
        except ApiError as error:
            cause = f"the engine does not answer: {error}"
        if not cause:
            return
        if time.monotonic() > deadline:
            raise HostError(str(run.current), f"{cause}, {_HEALTHY_SECONDS:.0f} s after it got {run.target}")
        time.sleep(_POLL_SECONDS)


# --- the phases ------------------------------------------------------------------------------------------------------


def _all_hosts(run: Upgrade) -> Sequence[Host]:
    return list(run.nodes)


def _hosts_to_upgrade(run: Upgrade) -> Sequence[Host]:
    return run.hosts


CHECKS: tuple[Phase[Upgrade], ...] = (
    Phase("identify", "ask which version the host runs", upgrade_plan.identify, _all_hosts),
    Phase("lock", "let no other operator change the cluster meanwhile", lock_servers, _all_hosts),
    Phase("facts", "ask what the host is", upgrade_plan.gather_facts, _all_hosts),
    Phase("plan", "choose the order of the hosts; all must be healthy", upgrade_plan.plan, _all_hosts),
    Phase("agree", "ask whether to go on", upgrade_plan.agree, _all_hosts),
)
DELIVERY: tuple[Phase[Upgrade], ...] = (
    Phase("binaries", "send the new engine to the registry", _deliver, lambda run: run.hosts[:1], _UNDO),
)
# These are done on one host before the next one's turn comes.
ON_EACH_HOST: tuple[Phase[Upgrade], ...] = (
    Phase("pause", "send it no more jobs", _pause, _hosts_to_upgrade, _UNDO),
    Phase("upgrade", "fetch the new engine, start it in place of the old one", _upgrade, _hosts_to_upgrade, _UNDO),
    Phase("healthy", "wait until the engine calls it healthy", _wait_until_healthy, _hosts_to_upgrade, _UNDO),
    Phase("resume", "let it have jobs again", _resume, _hosts_to_upgrade, _UNDO),
)
PHASES = (*CHECKS, *DELIVERY, *ON_EACH_HOST)


def upgrade(opened: OpenCluster, to: str = "", agree: Callable[[str], None] | None = None) -> None:
    """Bring the engine of a cluster to another version, host after host.

    Args:
        opened: the cluster.
        to: the version; empty: what new clusters get, or what a host of the cluster has already, if that is newer.
        agree: takes the question whether to go on, and raises ClusterError where the answer is no; None: go on.

    Raises:
        UsageError: there is no such version, or the engine does not go there from the one it has.
        LockedError: another operator is changing the cluster.
        HostsError: hosts that are not healthy, and nothing was changed; or the one that was not upgraded. Those after
            it were left as they are.
    """
    run = Upgrade(opened, to, agree)
    with run.stack:
        perform(CHECKS, run)
        kind = run.spec.provider
        if not run.hosts:
            run.context.report.note(f"cluster {run.cluster}: all hosts run {kind} {run.target}, nothing to do")
            return
        perform(DELIVERY, run)
        for done, host in enumerate(run.hosts):
            run.current = host
            run.context.report.step(str(host), f"upgrade to {kind} {run.target}")
            try:
                perform(ON_EACH_HOST, run)
            except ClusterError as error:
                raise HostsError({str(host): HostError(str(host), _describe_stop(run, done, error))}) from error
        run.context.report.note(f"cluster {run.cluster} runs {kind} {run.target} on {len(run.nodes)} hosts")


def plan_upgrade(opened: OpenCluster, to: str = "") -> tuple[PlannedStep, ...]:
    """Return what `upgrade` would do on each host; the hosts are looked at and nothing is changed."""
    run = Upgrade(opened, to)
    with run.stack:
        perform(CHECKS, run)
        return planned_steps((*DELIVERY, *ON_EACH_HOST), run)


def _describe_stop(run: Upgrade, done: int, error: ClusterError) -> str:
    """Return why a host was not upgraded, what became of the others, and how to go on."""
    cause: ClusterError = next(iter(error.failures.values())) if isinstance(error, HostsError) else error
    text = cause.cause if isinstance(cause, HostError) else str(cause)
    left = len(run.hosts) - done - 1
    others = f"the upgrade stops here, with {left} more to do" if left else "it is the last one"
    return (
        f"not upgraded: {text}. {others.capitalize()}: mend this one, and run "
        f"`cms cluster upgrade -n {run.cluster} --to={run.target}` again; {run.spec.provider} has no way back"
    )
