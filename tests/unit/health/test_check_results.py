"""What a cluster's test makes of the reports of hosts and tasks."""

from __future__ import annotations

from typing import Any

import pytest

from cloudmesh.cluster.core.model import Node, Role, Volume
from cloudmesh.cluster.health import check_results
from cloudmesh.cluster.health.check_results import HostHealth

FACTS = {
    "clock": "1000.5",
    "memory": "2048 4096",
    "disk": "50000 100000 /\n20 30 /mnt/with blank",
    "registry": "",
    "runtime": "Docker does not answer: refused ",
}
WELL = HostHealth(0.0, (2048, 4096), ((50000, 100000, "/"),))


def failed(health: HostHealth, skews: tuple[float, ...] = (0.0, 0.0, 0.0)) -> dict[str, str]:
    results = check_results.check_host("one", health, skews)
    return {result.check: result.cause for result in results if result.result == "failed"}


def test_what_a_host_tells_is_understood():
    health = check_results.parse(FACTS, asked_at=1000.0)
    assert health.skew == 0.5
    assert health.memory == (2048, 4096)
    assert health.disks == ((50000, 100000, "/"), (20, 30, "/mnt/with blank"))
    assert (health.registry, health.runtime) == ("", "Docker does not answer: refused")


def test_a_host_that_is_well_fails_nothing_and_every_failure_has_a_remedy():
    assert failed(WELL) == {}
    broken = HostHealth(90.0, (10, 4096), ((5, 100, "/data"),), "no route", "no answer")
    results = list(check_results.check_host("one", broken, (0.0, 0.0, 90.0)))
    assert {result.check for result in results if result.result == "failed"} == {result.check for result in results}
    assert all(result.cause and result.remedy for result in results)


@pytest.mark.parametrize(
    ("disk", "full"),
    [((1023, 10_000, "/"), True), ((1024, 10_000, "/"), False), ((4000, 100_000, "/"), True), ((0, 0, "/"), True)],
)
def test_a_disk_is_full_below_a_gibibyte_or_a_twentieth(disk, full):
    health = HostHealth(0.0, (2048, 4096), ((50000, 100000, "/"), disk))
    assert ("disk" in failed(health)) is full
    assert health.runs_tasks is not full


def test_clocks_are_compared_with_each_other_and_not_with_the_operators():
    late = HostHealth(-100.0, WELL.memory, WELL.disks)
    assert failed(late, (-100.0, -100.2, -99.8)) == {}
    assert failed(late, (0.0, 0.1, -100.0)) == {"time": "its clock is 100 s behind the other hosts'"}


def test_an_engine_that_calls_a_host_down_is_told():
    down = check_results.check_engine(Node("one", "10.0.0.1", (Role.WORKER,), "down"), "one")
    assert (down.result, down.cause) == ("failed", "the engine calls it down")


NAMES = {"0": "a", "1": "b", "2": "c"}


def report(number: str, *, lost: str = "", **storage: Any) -> dict[str, Any]:
    reached = {other: "timed out" if other == lost else "" for other in NAMES}
    return {"me": number, "reached": reached, "dns": {"ok": "fine"}, "storage": storage}


def test_hosts_that_do_not_reach_each_other_are_told_from_both_ends():
    results = check_results.check_network(
        NAMES, {"0": report("0"), "1": report("1", lost="2"), "2": report("2", lost="1")}
    )
    assert [(result.host, result.result, result.cause) for result in results] == [
        ("a", "ok", "reaches 2 other hosts"),
        ("b", "failed", "no way to c: timed out"),
        ("c", "failed", "no way to b: timed out"),
    ]


def stored(kind: str, *seen: Any) -> list[tuple[str, str]]:
    reports = {
        str(number): report(str(number), data={"seen": tasks} if isinstance(tasks, list) else {"failed": tasks})
        for number, tasks in enumerate(seen)
    }
    results = check_results.check_volume(Volume("data", kind), NAMES, reports)
    return [(result.host, result.result) for result in results]


def test_a_place_that_all_share_is_well_where_all_see_what_all_wrote():
    every = ["0", "1", "2"]
    assert stored("nfs", every, every, every) == [("a", "ok"), ("b", "ok"), ("c", "ok")]
    assert stored("nfs", every, ["0", "1"], every) == [("a", "ok"), ("b", "failed"), ("c", "ok")]


def test_what_a_host_could_not_write_is_its_own_failure_alone():
    assert stored("nfs", ["0", "2"], "read-only", ["0", "2"]) == [("a", "ok"), ("b", "failed"), ("c", "ok")]


def test_directories_may_be_each_hosts_own_and_nfs_may_not():
    assert [result for _, result in stored("directory", ["0"], ["1"], ["2"])] == ["ok"] * 3
    assert [result for _, result in stored("nfs", ["0"], ["1"], ["2"])] == ["failed"] * 3
