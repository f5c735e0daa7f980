"""An operation is a list of phases: checks come first, --dryrun prints the rest, a failed server ends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.lifecycle import add, create, kill, remove
from cloudmesh.cluster.lifecycle.phases import Phase, changes, checks, perform, planned_steps

ONE, TWO = Host("one"), Host("two")


@dataclass
class Run:
    """A run that notes what was done."""

    cluster: str = "demo"
    context: Context = field(default_factory=lambda: Context(cast(Any, None), Silence(), "me@here"))
    failures: dict[str, ClusterError] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)


def phase(name: str, *hosts: Host, undo: str = "", error: Exception | None = None) -> Phase[Run]:
    def act(run: Run) -> None:
        if error:
            raise error
        run.done.append(name)

    return Phase(name, f"do {name}", act, lambda _: hosts, undo)


LOOK, PREPARE, JOIN = phase("look", ONE, TWO), phase("prepare", ONE, TWO, undo="kill"), phase("join", TWO, undo="kill")


def test_phases_are_performed_in_their_order() -> None:
    run = Run()
    perform([LOOK, PREPARE, JOIN], run)
    assert run.done == ["look", "prepare", "join"]


def test_a_dry_run_prints_for_each_host_the_phases_that_would_change_it() -> None:
    steps = planned_steps([LOOK, PREPARE, JOIN], Run())
    assert [(step.host, step.phase) for step in steps] == [("one", "prepare"), ("two", "prepare"), ("two", "join")]


def test_a_host_that_fails_in_a_check_is_the_error_itself() -> None:
    with pytest.raises(HostError, match="one: gone"):
        perform([phase("look", ONE, error=HostError("one", "gone"))], Run())


def test_a_host_that_fails_in_a_change_is_told_with_those_that_failed_before() -> None:
    run = Run(failures={"two": HostError("two", "full")})
    with pytest.raises(HostsError) as caught:
        perform([phase("boot", ONE, undo="kill", error=HostError("one", "gone"))], run)
    assert list(caught.value.failures) == ["two", "one"]


@pytest.mark.parametrize("operation", [create, add, remove, kill])
def test_every_operation_looks_before_it_changes_anything(operation: Any) -> None:
    before, after = checks(operation.PHASES), changes(operation.PHASES)
    assert [*before, *after] == [*operation.PHASES]
    assert before
    assert all(phase.undo for phase in after)
    assert len({phase.name for phase in operation.PHASES}) == len(operation.PHASES)
