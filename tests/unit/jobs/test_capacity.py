import time
from dataclasses import replace

import pytest

from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.jobs import capacity
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.spec import spark
from cloudmesh.cluster.spec.job import Executor, Resources
from cloudmesh.cluster.spec.spark import ResourceRequest, SparkJob
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout


def node(cores: float, memory: int) -> Node:
    return Node("h", "10.0.0.1", (Role.WORKER,), "ready", cores=cores, memory_mb=memory)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([node(2, 4000)], ""),
        ([node(1, 4000)], "the driver and 1 executors"),
        ([node(2, 1900)], "the driver needs"),
        ([node(0.5, 4000)], "the driver needs"),
        ([], "none takes jobs"),
        ([node(1, 4000), node(1, 4000)], ""),
    ],
)
def test_a_job_that_could_never_run_is_told_from_one_that_must_wait(nodes, says):
    reason = capacity.why_spark_unschedulable(ResourceRequest(1, 1, 2000), ResourceRequest(1, 1, 2000), nodes)
    assert reason == "" if not says else says in reason


def test_a_python_job_gets_more_memory_beside_the_heap_and_never_less_than_the_jvm_needs():
    small = SparkJob("j", main_in_image="/j.py", driver=Resources(1, 512), executor=Executor(2, 4096, instances=3))
    assert spark.spark_requests(small) == (ResourceRequest(1, 1, 512 + 384), ResourceRequest(3, 2, 4096 + 1638))
    assert spark.spark_requests(small, beside_mb=100)[0].memory_mb == 512 + 384 + 100


@pytest.mark.parametrize(
    ("code", "oom", "says"),
    [
        (7, False, "exit code 7"),
        (124, False, "timeout"),
        (137, False, "killed by SIGKILL (exit code 137)"),
        (139, False, "killed by SIGSEGV (exit code 139)"),
        (134, False, "killed by SIGABRT (exit code 134)"),
        (143, False, "killed by SIGTERM (exit code 143)"),
        (128, False, "exit code 128"),
        (255, False, "exit code 255"),
        (137, True, "out of memory"),
        (0, False, ""),
    ],
)
def test_an_exit_code_is_told_in_words(code, oom, says):
    reason = outcomes.explain_exit_code(code, out_of_memory=oom)
    assert reason.startswith(says)
    assert ("memory" in reason) == oom
    assert bool(reason) == bool(says)


def named(name: str, cores: float, memory: int, free: int = 0) -> Node:
    return replace(node(cores, memory), name=name, id=f"id-{name}", free_memory_mb=free)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([TaskGroup("task", 4, 1, 1000)], ""),
        ([TaskGroup("task", 5, 1, 1000)], "5 tasks of 1 cores and 1000 MiB: the hosts have room for 4"),
        ([TaskGroup("task", 1, 3, 100)], "a task needs 3 cores and 100 MiB on one host, and the largest has 2 cores"),
        ([TaskGroup("head", 1, 1, 3000), TaskGroup("worker", 3, 1, 1000)], ""),
        (
            [TaskGroup("head", 1, 2, 1000), TaskGroup("worker", 3, 1, 1000)],
            "1 head tasks and 3 worker tasks have room on the hosts by themselves, but not all together",
        ),
        # The head has to go where the large worker is not.
        ([TaskGroup("head", 1, 1, 1500), TaskGroup("big", 1, 1, 3900), TaskGroup("worker", 2, 1, 100)], ""),
        ([TaskGroup("head", 1, 1, 100, host="id-a"), TaskGroup("worker", 2, 1, 100, host="id-a")], "not all together"),
        ([TaskGroup("head", 1, 1, 100, host="id-a"), TaskGroup("worker", 2, 1, 100, host="b")], ""),
        ([TaskGroup("head", 1, 1, 5000, host="id-b")], "a head task needs 1 cores and 5000 MiB on one host"),
        ([TaskGroup("head", 1, 1, 100, host="c")], "its head tasks are bound to the host c, which takes no jobs"),
    ],
)
def test_parts_that_could_never_all_run_are_told_from_those_that_must_wait(parts, says):
    reason = capacity.why_tasks_unschedulable(TaskLayout(tuple(parts)), [named("a", 2, 4000), named("b", 2, 4000)])
    assert reason == "" if not says else says in reason


def test_placing_many_parts_on_many_hosts_takes_no_time():
    nodes = [named(f"n{index}", 4, 8000) for index in range(200)]
    bound = [TaskGroup(f"w{index}", 1, 2, 2000, host=f"n{index}") for index in range(200)]
    begun = time.monotonic()
    assert capacity.why_tasks_unschedulable(TaskLayout((TaskGroup("head", 1, 2, 100), *bound)), nodes) == ""
    assert capacity.why_tasks_unschedulable(TaskLayout((TaskGroup("head", 1, 1, 7000), *bound)), nodes) != ""
    assert time.monotonic() - begun < 3


def test_a_service_on_a_thousand_hosts_is_placed_and_one_that_needs_more_is_refused() -> None:
    hosts = [replace(node(2, 4000), id=f"n{number}", name=f"n{number}") for number in range(1000)]
    workers = [TaskGroup("worker", 1, 1, 3000, host=f"n{number}") for number in range(1000)]
    head = TaskGroup("head", 1, 1, 1000, host="n0")
    assert capacity.why_tasks_unschedulable(TaskLayout((head, *workers), is_service=True), hosts) == ""
    large = replace(head, memory_mb=2000)
    why = capacity.why_tasks_unschedulable(TaskLayout((large, *workers), is_service=True), hosts)
    assert why.endswith("have room on the hosts by themselves, but not all together")


def test_the_hosts_with_most_free_room_are_chosen_and_always_the_same():
    nodes = [named("a", 1, 9, free=5), named("b", 1, 9, free=7), named("c", 1, 9, free=7), named("d", 0, 9, free=9)]
    nodes.append(replace(named("e", 1, 9, free=9), status="down"))
    assert capacity.hosts_with_most_free(nodes, 2) == ("id-b", "id-c")
    assert capacity.hosts_with_most_free(nodes[::-1], 9) == ("id-b", "id-c", "id-a")
