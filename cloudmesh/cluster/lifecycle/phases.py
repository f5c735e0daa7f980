"""An operation as a list of phases, which is performed, followed by progress and printed by `--dryrun`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.hosts import lock
from cloudmesh.cluster.providers.open_cluster import OpenCluster


class Run(Protocol):
    """What the phases of one run of an operation share."""

    @property
    def context(self) -> Context:
        """The operator's side."""

    @property
    def cluster(self) -> str:
        """The cluster's name."""

    @property
    def failures(self) -> dict[str, ClusterError]:
        """What went wrong, by host; the other hosts go on."""


@dataclass
class OpenedRun:
    """One run of an operation that changes a cluster which lives.

    Attributes:
        opened: the cluster.
        failures: what went wrong, by host.
        stack: releases the locks and the connections that had to be opened.
    """

    opened: OpenCluster
    failures: dict[str, ClusterError] = field(default_factory=dict, kw_only=True)
    stack: ExitStack = field(default_factory=ExitStack, kw_only=True)

    @property
    def context(self) -> Context:
        """The operator's side."""
        return self.opened.context

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.opened.spec.cluster


def lock_servers(run: OpenedRun) -> None:
    """Lock every server that answers: others hold the lock of the first one, which may be the one that leaves."""
    for server in run.opened.discovered.server_connections.values():
        run.stack.callback(lock.hold(server, run.cluster, run.context.operator).release)


AnyRun = TypeVar("AnyRun", bound=Run)


@dataclass(frozen=True)
class Phase(Generic[AnyRun]):
    """One step of an operation.

    Attributes:
        name: as progress and `--dryrun` show it.
        what: what it does, in words.
        act: does it; what is done already is left alone, so that it may be run again.
        hosts: returns the hosts on which it does it.
        undo: what takes its changes back, in words; empty: it changes nothing.
    """

    name: str
    what: str
    act: Callable[[AnyRun], None]
    hosts: Callable[[AnyRun], Sequence[Host]]
    undo: str = ""


@dataclass(frozen=True)
class PlannedStep:
    """What an operation would do on one host; the attributes are those of `Phase`."""

    host: str
    phase: str
    what: str
    undo: str


def perform(phases: Sequence[Phase[AnyRun]], run: AnyRun) -> None:
    """Run the phases one after another.

    Raises:
        HostsError: a host without which nothing can go on failed in a phase that changes hosts; earlier failures of
            other hosts are in it too.
    """
    for phase in phases:
        run.context.report.step(run.cluster, phase.name)
        try:
            phase.act(run)
        except HostError as error:
            if not phase.undo:
                raise
            run.failures.setdefault(error.host, error)
            raise HostsError(run.failures) from error


def checks(phases: Sequence[Phase[AnyRun]]) -> Sequence[Phase[AnyRun]]:
    """Return the phases before the first that changes anything."""
    first = next((number for number, phase in enumerate(phases) if phase.undo), len(phases))
    return phases[:first]


def changes(phases: Sequence[Phase[AnyRun]]) -> Sequence[Phase[AnyRun]]:
    """Return the phases from the first that changes anything."""
    return phases[len(checks(phases)) :]


def planned_steps(phases: Sequence[Phase[AnyRun]], run: AnyRun) -> tuple[PlannedStep, ...]:
    """Return what the phases would change, host by host, once the checks have been performed."""
    steps = [
        PlannedStep(str(host), phase.name, phase.what, phase.undo)
        for phase in phases
        if phase.undo
        for host in phase.hosts(run)
    ]
    order = list(dict.fromkeys(step.host for step in steps))
    return tuple(sorted(steps, key=lambda step: order.index(step.host)))
