"""Hosts made into members of a cluster, step by step; each step may be run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudmesh.cluster.binaries import BinaryBundle, provide
from cloudmesh.cluster.core.cluster_spec import ClusterSpec, HostPlan
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostError, HostsError, ImageError, UnreachableError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.images import delivery
from cloudmesh.cluster.images.build import build_builtin_image
from cloudmesh.cluster.providers.base import Engine
from cloudmesh.cluster.ssh import parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.images.registry import Registry
    from cloudmesh.cluster.ssh.connection import Connection


_PREPARE_SECONDS = 900.0
_START_SECONDS = 900.0
_READY_SECONDS = 300.0
_POLL_SECONDS = 0.3


@dataclass
class Installation:
    """One run of `create` or `add` over hosts that passed the preflight.

    Attributes:
        connections: to the members.
        server: the connection to the first server, which may be a member or not.
        script: the engine's host script.
        files: what a member gets.
        api: opens the engine's API through the server.
        deliver: sends the engine to the cluster's registry; see `Provider._deliver`.
        invited: lets hosts in for as long as it is open; see `Provider._invited`.
        digests: SHA-256 of the engine files by name, once the cluster has them.
        failures: what went wrong, by host; the other hosts go on.
    """

    context: Context
    blueprint: ClusterSpec
    connections: Mapping[Host, Connection]
    server: Connection
    script: str
    files: Callable[[HostPlan], Mapping[str, bytes]]
    api: Callable[[], AbstractContextManager[Engine]]
    deliver: Callable[[Registry, BinaryBundle], Mapping[str, str]]
    invited: Callable[[], AbstractContextManager[Mapping[str, bytes]]]
    digests: Mapping[str, str] = field(default_factory=dict)
    failures: dict[str, ClusterError] = field(default_factory=dict)

    def run(self, members: Sequence[HostPlan], images: Sequence[str] = ()) -> None:
        """Take every member through all steps; the engine and the images are built while the hosts are prepared.

        Raises:
            HostsError: some members failed; the others are in.
            ClusterError: the first server failed, or an image; nothing more can be done.
        """
        first = [member for member in members if member.facts.address == self.blueprint.servers[0]]
        others = [member for member in members if member not in first]
        engine = parallel.run_in_background(lambda: self._provide(members[0].facts.arch)) if first else None
        built = parallel.run_in_background(lambda: [build_builtin_image(image, self.context) for image in images])
        try:
            self._step("prepare", members, _PREPARE_SECONDS)
            if engine:
                self._lead(first, engine)
            if others:
                with self.invited() as invitation:
                    self._step("join", others, _START_SECONDS, invitation)
            self._await_ready(members)
            self._deliver(built)
        except HostError as error:  # of the first server
            self.failures.setdefault(error.host, error)
        if self.failures:
            raise HostsError(self.failures)

    def _provide(self, arch: str) -> BinaryBundle:
        report, mirror = self.context.report, self.context.mirror
        return provide(self.blueprint.provider, arch=arch, mirror=mirror, report=report)

    def _lead(self, first: Sequence[HostPlan], engine: Future[BinaryBundle]) -> None:
        """Make the first server; without it there is no cluster."""
        self._step("registry", first, _START_SECONDS)
        self._must_go_on()
        bundle = engine.result()
        try:
            with delivery.open_registry(self.server, self.blueprint) as registry:
                self.digests = self.deliver(registry, bundle)
        except ImageError as error:
            raise HostError(str(self.server.host), f"the engine could not be sent to it: {error}") from error
        self._step("bootstrap", first, _START_SECONDS)
        self._step("join", first, _START_SECONDS)
        self._must_go_on()
        # Agents that start before there is a leader wait long before they ask again.
        self._await(lambda api: bool(api.nodes()), "the first server is not ready")

    def _must_go_on(self) -> None:
        first = str(self.server.host)
        if first in self.failures:
            raise HostsError(self.failures)

    def _step(
        self, verb: str, members: Sequence[HostPlan], timeout: float, inputs: Mapping[str, bytes] | None = None
    ) -> None:
        going = {member.host: member for member in members if str(member.host) not in self.failures}
        engine = "".join(f"{digest} {name}\n" for name, digest in self.digests.items()).encode()

        def run(member: HostPlan) -> None:
            files = {**self.files(member), **(inputs or {}), "engine": engine}
            connection = self.connections[member.host]
            try:
                connection.run(self.script, verb, files=files, timeout=timeout, report=self.context.report)
            except ClusterError as error:
                self._fail(str(member.host), error)

        # What `run` does not expect is a failure too.
        self.failures.update(parallel.run_on_hosts(run, going).failures)

    def _fail(self, name: str, failure: ClusterError) -> None:
        self.context.report.failed(name, failure.cause if isinstance(failure, HostError) else str(failure))
        self.failures[name] = failure

    def _await_ready(self, members: Sequence[HostPlan]) -> None:
        waiting = {m.facts.address: m for m in members if str(m.host) not in self.failures}

        def all_ready(api: Engine) -> bool:
            for node in api.nodes():
                if node.status == "ready" and node.address in waiting:
                    self._welcome(waiting.pop(node.address))
            for address, member in list(waiting.items()):
                if not self.connections[member.host].alive:
                    del waiting[address]
                    self._fail(str(member.host), _lost(member.host))
            return not waiting

        try:
            self._await(all_ready, "not ready")
        except ApiError:
            for member in waiting.values():
                name = str(member.host)
                self.failures[name] = HostError(name, f"the engine does not call it ready after {_READY_SECONDS:.0f} s")

    def _welcome(self, member: HostPlan) -> None:
        self.context.report.done(str(member.host), "ready")
        if not member.host.private_key:  # local hosts are found by their labels
            self.connections[member.host].remember()

    def _await(self, condition: Callable[[Engine], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        with self.api() as api:
            while True:
                try:
                    if condition(api):
                        return
                except ApiError as error:
                    otherwise = str(error)
                if not self.server.alive:
                    raise _lost(self.server.host)
                if time.monotonic() > deadline:
                    raise ApiError(f"{self.blueprint.cluster}: {otherwise}, after {_READY_SECONDS:.0f} s")
                time.sleep(_POLL_SECONDS)

    def _deliver(self, built: Future[list[str]]) -> None:
        tags = built.result()
        if not tags:
            return
        with delivery.open_registry(self.server, self.blueprint) as registry:
            for tag in tags:
                delivery.deliver_image(registry, tag, self.context.report)


def _lost(host: Host) -> UnreachableError:
    return UnreachableError(str(host), "the SSH connection was lost while the cluster was starting")
