"""Jobs move away from a host that is taken out, on any engine; where they cannot, the host takes jobs again."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.clock import Clock, provide_clock
from support.memory_engine.provider import MemoryEngine

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, ClusterError
from cloudmesh.cluster.core.model import Node
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.lifecycle import remove


@dataclass
class Engine(MemoryEngine):
    """An engine whose jobs leave a node one by one as it is asked; with `stubborn`, the last one stays."""

    jobs_there: list[str] = field(default_factory=list)
    stubborn: bool = False
    bound: bool = False

    def begin_drain(self, node: Node) -> None:
        if self.bound:
            raise ApiError("services are bound to it")
        super().begin_drain(node)

    def move_jobs(self, node: Node) -> tuple[str, ...]:
        there = tuple(self.jobs_there)
        if len(there) > self.stubborn:
            self.jobs_there.pop(0)
        return there


__all__ = ["provide_clock"]
pytestmark = pytest.mark.usefixtures("clock")


def drain(engine: Engine, *, force: bool = False) -> None:
    opened = SimpleNamespace(context=Context(cast(Any, None), Silence(), "me@here"))
    run = remove.Removal(cast(Any, opened), (), cast(Any, None), force)
    run.engine = engine
    remove._drain_node(run, engine.workers[0])


def test_a_host_is_drained_when_its_last_job_has_left() -> None:
    engine = Engine(jobs_there=["a", "b"])
    drain(engine)
    assert engine.jobs_there == []
    assert engine.workers[0].status == "drained"


def test_a_host_whose_jobs_do_not_leave_takes_jobs_again_and_the_jobs_are_named(clock: Clock) -> None:
    engine = Engine(jobs_there=["a", "b"], stubborn=True)
    with pytest.raises(ClusterError, match=r"one: not removed, .*after 300 s these jobs still run on it: b; --force"):
        drain(engine)
    assert engine.workers[0].status == "ready"
    assert 300 < clock.now < 302


@pytest.mark.parametrize(
    "engine", [Engine(jobs_there=["a"], stubborn=True), Engine(bound=True)], ids=["job", "service"]
)
def test_with_force_a_host_is_given_up_with_its_jobs(engine: Engine) -> None:
    drain(engine, force=True)


def test_nothing_is_waited_for_on_a_host_that_is_down(clock: Clock) -> None:
    engine = Engine(jobs_there=["a", "b"], stubborn=True)
    engine.workers = (replace(engine.workers[0], status="down"),)
    engine.begin_drain = lambda node: None  # type: ignore[method-assign]
    drain(engine)
    assert clock.now == 0


def test_a_host_that_goes_down_while_it_is_emptied_is_waited_for_no_longer(clock: Clock) -> None:
    engine = Engine(jobs_there=["a"], stubborn=True)

    def nodes() -> tuple[Node, ...]:
        return tuple(replace(node, status="down" if clock.now > 12 else "ready") for node in engine.workers)

    engine.nodes = nodes  # type: ignore[method-assign]
    drain(engine)
    assert 12 < clock.now < 20


@pytest.mark.parametrize(("force", "seconds"), [(True, 12), (False, 300)])
def test_a_host_that_falls_silent_is_waited_for_unless_its_removal_is_forced(
    clock: Clock, force: bool, seconds: int
) -> None:
    engine = Engine(jobs_there=["a"], stubborn=True)

    def nodes() -> tuple[Node, ...]:
        return tuple(replace(node, status="silent" if clock.now > 10 else "ready") for node in engine.workers)

    engine.nodes = nodes  # type: ignore[method-assign]
    with nullcontext() if force else pytest.raises(ClusterError, match="after 300 s"):
        drain(engine, force=force)
    assert seconds - 2 < clock.now < seconds + 5


def test_a_host_with_a_service_of_its_own_is_not_drained() -> None:
    engine = Engine(bound=True)
    with pytest.raises(ClusterError, match="services are bound to it"):
        drain(engine)
    assert engine.workers[0].status == "ready"
