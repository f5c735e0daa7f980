"""Which jobs in Nomad's own language no host could ever take; the plans are those that Nomad 1.10 makes."""

from __future__ import annotations

from typing import Any

import pytest

from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.providers.nomad.placement import why_never_placed

NODES = [
    Node("a", "10.0.0.1", (Role.SERVER, Role.WORKER), "ready", cores=2, memory_mb=4000),
    Node("b", "10.0.0.2", (Role.WORKER,), "ready", cores=4, memory_mb=2000),
]
SUMMARIES = [{"Datacenter": "prod"}, {"Datacenter": "prod"}]


def job(*, cpu: int = 100, memory: int = 64, cores: int = 0, **fields: Any) -> dict[str, Any]:
    task = {"Name": "t", "Resources": {"CPU": cpu, "MemoryMB": memory, "Cores": cores}}
    before = {"Name": "before", "Lifecycle": {"Hook": "prestart"}, "Resources": {"CPU": 100, "MemoryMB": 3990}}
    return {"ID": "j", "Type": "batch", "TaskGroups": [{"Name": "g", "Tasks": [task, before]}], **fields}


def plan(**fields: Any) -> dict[str, Any]:
    metric = {
        "NodesEvaluated": 2,
        "NodesFiltered": 0,
        "NodesAvailable": {"prod": 2},
        "ConstraintFiltered": None,
        "ClassFiltered": None,
        "DimensionExhausted": {"memory": 2},
    }
    return {"FailedTGAllocs": {"g": {**metric, **fields}}}


NONE_THERE = plan(NodesEvaluated=0, NodesAvailable={}, DimensionExhausted=None)
UNMET = plan(NodesFiltered=2, ConstraintFiltered={"${attr.cpu.arch} = arm64": 2}, DimensionExhausted=None)


def test_a_job_for_datacenters_without_a_host_is_told_which_there_are() -> None:
    why = why_never_placed(job(Datacenters=["dc1", "eu-*"]), NONE_THERE, SUMMARIES, NODES)
    assert why == (
        "no host is in its datacenters, dc1, eu-*: those of this cluster are in prod; "
        'leave `datacenters` out, or write datacenters = ["*"]'
    )


@pytest.mark.parametrize("datacenters", [None, ["*"], ["dc1", "prod"], ["pr*"]])
def test_a_job_for_the_clusters_own_datacenter_is_taken(datacenters: list[str] | None) -> None:
    assert why_never_placed(job(Datacenters=datacenters), {"FailedTGAllocs": None}, SUMMARIES, NODES) == ""


def test_conditions_that_no_host_meets_are_named() -> None:
    assert why_never_placed(job(), UNMET, SUMMARIES, NODES) == (
        "no host meets the conditions of its group g: ${attr.cpu.arch} = arm64"
    )


def test_a_host_that_is_away_may_meet_them() -> None:
    away = [NODES[0], Node("b", "10.0.0.2", (Role.WORKER,), "down")]
    assert why_never_placed(job(), UNMET, SUMMARIES, away) == ""


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"memory": 4001}, "4001 MiB of memory on one host, and the largest has 4000"),
        ({"cpu": 4001}, "4001 CPU shares (1000 for a core) on one host, and the largest has 4000"),
        ({"cores": 5}, "5 cores on one host, and the largest has 4"),
    ],
)
def test_a_group_that_is_larger_than_every_host_is_told_by_how_much(sizes: dict[str, int], says: str) -> None:
    assert why_never_placed(job(**sizes), plan(), SUMMARIES, NODES) == f"its group g needs {says}"


def test_a_job_that_only_has_to_wait_is_taken() -> None:
    assert why_never_placed(job(memory=4000, cpu=4000), plan(), SUMMARIES, NODES) == ""


def test_a_job_for_each_host_may_leave_some_out() -> None:
    assert why_never_placed(job(Type="system"), UNMET, SUMMARIES, NODES) == ""
