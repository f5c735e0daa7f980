import pytest

from cloudmesh.cluster import placement
from cloudmesh.cluster.jobs.model import Executor, Resources, SparkJob
from cloudmesh.cluster.model import Node, Role
from cloudmesh.cluster.placement import Ask


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
    found = placement.obstacle(Ask(1, 1, 2000), Ask(1, 1, 2000), nodes)
    assert found == "" if not says else says in found


def test_a_python_job_gets_more_memory_beside_the_heap_and_never_less_than_the_jvm_needs():
    small = SparkJob("j", main_in_image="/j.py", driver=Resources(1, 512), executor=Executor(2, 4096, instances=3))
    assert placement.asks(small) == (Ask(1, 1, 512 + 384), Ask(3, 2, 4096 + 1638))
    assert placement.asks(small, beside_mb=100)[0].memory_mb == 512 + 384 + 100


@pytest.mark.parametrize(
    ("code", "oom", "says"),
    [
        (7, False, "exit code 7"),
        (124, False, "timeout"),
        (137, False, "killed"),
        (137, True, "out of memory"),
        (0, False, ""),
    ],
)
def test_an_exit_code_is_told_in_words(code, oom, says):
    found = placement.why(code, out_of_memory=oom)
    assert found == "" if not says else says in found
