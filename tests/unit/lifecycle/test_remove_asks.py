"""Before a host is taken out, it is told what becomes of output and results that jobs have there, and asked."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine
from support.notes import Notes

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostError
from cloudmesh.cluster.core.model import Host, JobStatus, Node, Role, State, TaskStatus
from cloudmesh.cluster.lifecycle import remove

FULL = HostError("h1", "no space left on device")
NODE = Node("h2", "10.0.0.2", (Role.WORKER,), "ready", id="n2", node="debian")


class Engine(MemoryEngine):
    """An engine that has jobs which ran on the hosts that their ids say."""

    def __init__(self, *hosts: str) -> None:
        super().__init__()
        self.hosts = hosts

    def jobs(self) -> tuple[JobStatus, ...]:
        return tuple(
            JobStatus(f"on-{host}-{number}", "j", State.SUCCEEDED, tasks=(TaskStatus("t", host, State.SUCCEEDED),))
            for number, host in enumerate(self.hosts)
        )


def removal(engine: Engine, agree: Any = None) -> tuple[remove.Removal, Notes]:
    notes = Notes()
    opened = SimpleNamespace(
        context=Context(cast(Any, None), notes, "me@here"),
        spec=SimpleNamespace(cluster="demo"),
        server=SimpleNamespace(host=Host("h1")),
    )
    run = remove.Removal(
        cast(Any, opened),
        (Host("h2"),),
        lambda _opened, _engine, hosts: dict.fromkeys(hosts, FULL),
        agree=agree,
    )
    run.engine, run.nodes = engine, {Host("h2"): NODE}
    return run, notes


def test_the_jobs_that_have_output_and_results_there_are_named_before_the_question() -> None:
    run, notes = removal(Engine("h2", "h3", "debian"))
    run.agree = notes.notes.append
    remove._agree(run)
    assert notes.notes == [
        "h2: output and results that these jobs have there move to h1: on-h2-0, on-debian-2",
        "Remove h2 (node debian) from cluster demo?",
    ]


def test_of_a_host_that_is_down_they_are_lost() -> None:
    run, notes = removal(Engine("h2"))
    run.nodes = {Host("h2"): replace(NODE, status="down")}
    remove._agree(run)
    assert notes.notes == ["h2: output and results that these jobs have there are lost, as it is down: on-h2-0"]
    remove._move_data(run)
    assert run.failures == {}


def test_a_host_whose_data_cannot_be_moved_stays_unless_forced() -> None:
    run, notes = removal(Engine("h2"))
    remove._move_data(run)
    assert run.nodes == {}
    assert str(run.failures["h2"]) == (
        "h2: not removed, what jobs left there cannot be moved to h1: h1: no space left on device; "
        "--force removes it, and that is lost"
    )
    run, notes = removal(Engine("h2"))
    run.force = True
    remove._move_data(run)
    assert (list(run.nodes), run.failures) == ([Host("h2")], {})
    assert notes.notes == ["h2: output and results of jobs there are lost: h1: no space left on device"]


def test_a_no_ends_it_before_anything_is_changed() -> None:
    def refuse(question: str) -> None:
        raise ClusterError("nothing was done")

    run, _ = removal(Engine(), agree=refuse)
    names = [phase.name for phase in remove.PHASES]
    assert names.index("agree") < names.index("lock")
    with pytest.raises(ClusterError, match="nothing was done"):
        remove._agree(run)


def test_of_many_jobs_some_are_named_and_all_are_counted() -> None:
    run, notes = removal(Engine(*["h2"] * 12))
    remove._agree(run)
    (note,) = notes.notes
    assert note.endswith("on-h2-9 and 2 more")


def test_where_no_job_has_left_anything_nothing_is_said() -> None:
    run, notes = removal(Engine("h3"))
    remove._agree(run)
    assert notes.notes == []
