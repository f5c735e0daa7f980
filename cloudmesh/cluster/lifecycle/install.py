"""What create and add change on hosts, step by step.

Each function is the action of a phase (see `create.py` and `add.py` for their order) and may be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from cloudmesh.cluster import binaries
from cloudmesh.cluster.binaries import BinaryBundle
from cloudmesh.cluster.core.cluster_spec import HostPlan
from cloudmesh.cluster.core.errors import (
    ApiError,
    ClusterError,
    HostError,
    HostsError,
    ImageError,
    UnreachableError,
)
from cloudmesh.cluster.core.model import ClusterInfo, Host
from cloudmesh.cluster.hosts import members, volumes
from cloudmesh.cluster.images import delivery
from cloudmesh.cluster.images.build import build_builtin_image
from cloudmesh.cluster.lifecycle import plan
from cloudmesh.cluster.lifecycle.installation import Installation
from cloudmesh.cluster.lifecycle.phases import Phase, changes, checks, perform
from cloudmesh.cluster.lifecycle.servers import forget, tell_hosts
from cloudmesh.cluster.providers.base import SNAPSHOT, Delivery, Engine
from cloudmesh.cluster.providers.open_cluster import describe
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    pass

_PREPARE_SECONDS = 900.0
_START_SECONDS = 900.0
_READY_SECONDS = 300.0
_POLL_SECONDS = 0.3

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
    state = {SNAPSHOT: run.snapshot.data} if run.snapshot else {}
    _run_step(run, "bootstrap", run.first, _START_SECONDS, state)
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
        forget(engine, run.stale)


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
    return binaries.provide(
        run.spec.provider, version=run.spec.version, arch=arch, mirror=context.mirror, report=context.report
    )


def _note_members(run: Installation) -> None:
    """Note on the servers which hosts have something of the cluster now, also those that failed halfway."""
    if not run.pending:
        return
    named = {host: run.connections[host] for host in run.facts if run.is_server(host)}
    servers = {**run.other_servers, run.server.host: run.server, **named}
    # A server that joins later than others has to know those too.
    is_known = run.started and run.server_plans
    known = members.read(run.server) if is_known else members.MemberList((), False, tuple(run.barred))
    living = {host: connection for host, connection in servers.items() if str(host) not in run.failures}
    outcomes = parallel.run_on_hosts(lambda server: members.add(server, run.pending, known), living)
    run.failures.update(outcomes.failures)


def _stop_without_first_server(run: Installation) -> None:
    """Raise HostsError where the first server failed: without it there is no cluster."""
    if str(run.server.host) in run.failures:
        raise HostsError(run.failures)


def _run_step(
    run: Installation,
    verb: str,
    plans: Sequence[HostPlan],
    timeout: float,
    further: Mapping[str, bytes] | None = None,
) -> None:
    """Run a verb of the provider's host script on the hosts that have not failed; `further` are inputs of all."""
    script, delivered = run.provider.host_script(), run.delivery or Delivery()
    digests = host_script.lines(f"{digest} {name}" for name, digest in delivered.digests.items())

    def run_on(host: HostPlan) -> None:
        files = {
            **plan.host_files(run.spec, host, run.provider.certificate_names(host.role), run.provider.needs().ports),
            **run.provider.host_files(run.spec, host, delivered),
            **(further or {}),
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


def tell_servers(run: Installation) -> None:
    """Tell the hosts of the cluster which servers it has, where they know fewer."""
    run.failures.update(tell_hosts(run.context, run.provider, run.spec, {**run.members, **run.connections}))
