"""What only a kernel of its own shows: control groups version 2, and a cluster that outlives a reboot of its hosts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import emulated
import pytest
from emulated import Machine
from support import snapshot
from support.cms import Operator, Outcome
from support.snapshot import Snapshot

from cloudmesh.cluster.operations import PROVIDERS

pytestmark = pytest.mark.vm

NAME = "t-vm"
JOB = str(Path(__file__).with_name("answer.yaml"))
ANSWER = f"the sum is {sum(n * n for n in range(1000))}\n"
HEALTHY_SECONDS = 600  # after a reboot, with nobody's help
PATIENCE = 3600.0  # for one command
T = TypeVar("T")


@dataclass(frozen=True)
class Story:
    """What was seen while a cluster came, was rebooted, and went.

    Attributes:
        answers: of a job before and after the reboot.
        infos: the same two moments, as `info` tells the cluster.
        before: the machines before `create`.
    """

    machines: Sequence[Machine]
    before: Sequence[Snapshot]
    answers: tuple[str, str]
    infos: tuple[Any, Any]


@pytest.fixture(scope="module", params=PROVIDERS)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    provider = request.param

    def timed(what: str, function: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return function()
        finally:
            logging.info("%s: %s: %.0f s", provider, what, time.monotonic() - began)

    with ExitStack() as stack:
        machines = timed("disk made and both booted", lambda: stack.enter_context(emulated.booted()))
        pool = stack.enter_context(ThreadPoolExecutor())
        operator = Operator(tmp_path_factory.mktemp("home"), machines[0].folder / "key", PATIENCE)

        def cms(verb: str, *words: str) -> Outcome:
            return operator.cms(verb, "-n", NAME, *words)

        def info() -> Any:
            return cms("info", "--output=json").json()

        def healthy() -> Any:
            end = time.monotonic() + HEALTHY_SECONDS
            while not (found := info())["healthy"]:
                assert time.monotonic() < end, found
                time.sleep(2)
            return found

        # what a first boot makes is there after it; what every boot makes is another after the second
        timed("reboot of both", lambda: list(pool.map(Machine.reboot, machines)))
        before = list(pool.map(snapshot.taken, machines))
        where = [machine.where for machine in machines]
        create = ("-p", provider, f"--interface={emulated.NETWORK}", *where)
        timed("create, to all hosts ready", lambda: cms("create", *create).ok())
        infos = [timed("info", info)]
        answers = [
            timed("first job, image delivered to the cluster and pulled", lambda: cms("submit", JOB).ok().stdout)
        ]
        timed("reboot of both", lambda: list(pool.map(Machine.reboot, machines)))
        infos.append(timed("from booted to healthy", healthy))
        answers.append(timed("second job", lambda: cms("submit", JOB).ok().stdout))
        timed("kill", lambda: cms("kill").ok())
        yield Story(machines, before, (answers[0], answers[1]), (infos[0], infos[1]))


def test_the_machines_have_control_groups_version_2(story: Story) -> None:
    for machine in story.machines:
        assert machine.run("stat -fc %T /sys/fs/cgroup") == "cgroup2fs"


def test_a_job_gives_its_answer(story: Story) -> None:
    assert story.answers[0] == ANSWER


def test_hosts_reach_each_other_by_the_interface_that_was_named(story: Story) -> None:
    assert sorted(node["address"] for node in story.infos[0]["nodes"]) == ["10.99.0.1", "10.99.0.2"]


def test_the_same_cluster_is_healthy_again_after_a_reboot_of_all_its_hosts(story: Story) -> None:
    before, after = story.infos
    assert after["healthy"]
    assert after["id"] == before["id"]
    assert len(after["nodes"]) == len(before["nodes"])


def test_a_job_gives_its_answer_after_the_reboot(story: Story) -> None:
    assert story.answers[1] == ANSWER


@pytest.mark.parametrize("index", [0, 1], ids=("server", "worker"))
def test_kill_leaves_the_machine_as_it_was_before_create(story: Story, index: int) -> None:
    assert snapshot.differences(story.before[index], story.machines[index], seconds=120) == []
