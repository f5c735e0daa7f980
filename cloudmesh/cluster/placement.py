"""What a job needs of its hosts, whether they could ever give it, and what an exit code means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cloudmesh.cluster.jobs.model import Resources, SparkJob
from cloudmesh.cluster.model import Node

# A JVM needs memory beside its heap, and Python's workers live there too.
_OVERHEAD_MB, _OVERHEAD_PYTHON, _OVERHEAD_JVM = 384, 0.4, 0.1
_TIMED_OUT = 124
_KILLED, _TERMINATED = 137, 143


class Ask(NamedTuple):
    """What each of some equal parts of a job needs on one host; memory with what its processes take beside the heap."""

    instances: int
    cores: int
    memory_mb: int


def asks(job: SparkJob, *, beside_mb: int = 0) -> tuple[Ask, Ask]:
    """Return what the driver needs, and what the executors need.

    Args:
        job: the job.
        beside_mb: what the engine runs beside each of them.
    """
    driver = Ask(1, job.driver.cores, _with_overhead(job, job.driver) + beside_mb)
    return driver, Ask(job.executor.instances, job.executor.cores, _with_overhead(job, job.executor) + beside_mb)


def obstacle(driver: Ask, executors: Ask, nodes: Sequence[Node]) -> str:
    """Return why a job could never run, though the cluster were empty; empty if it could.

    Args:
        driver: what it needs.
        executors: what they need.
        nodes: that take jobs.
    """
    for what, ask in (("the driver", driver), ("an executor", executors)):
        if not any(_room(node, ask) for node in nodes):
            largest = max(nodes, key=lambda node: node.memory_mb, default=None)
            has = (
                f"the largest has {largest.cores:g} cores and {largest.memory_mb} MiB" if largest else "none takes jobs"
            )
            return f"{what} needs {ask.cores} cores and {ask.memory_mb} MiB on one host, and {has}"
    places = sum(_room(node, executors) for node in nodes)
    if places < executors.instances:
        each = f"{executors.cores} cores and {executors.memory_mb} MiB"
        return f"{executors.instances} executors of {each}: the hosts have room for {places}"
    # The driver takes a place too; it is enough to know whether one host still has room beside its share of executors.
    with_driver = max(
        places - _room(node, executors) + _room(node, executors, beside=driver) for node in nodes if _room(node, driver)
    )
    if with_driver < executors.instances:
        return f"the driver and {executors.instances} executors: the hosts have room for the driver and {with_driver}"
    return ""


def why(exit_code: int | None, *, out_of_memory: bool = False) -> str:
    """Return why a process failed, in words; empty where its exit code does not tell."""
    if out_of_memory:
        return "out of memory: give the driver or executor more"
    if exit_code == _TIMED_OUT:
        return "timeout: it ran longer than timeoutSeconds"
    if exit_code in (_KILLED, _TERMINATED):
        return f"killed (exit code {exit_code})"
    return f"exit code {exit_code}" if exit_code else ""


def _room(node: Node, ask: Ask, beside: Ask | None = None) -> int:
    """Return how many of `ask` an empty `node` can take, one `beside` being there."""
    cores = node.cores - (beside.cores if beside else 0)
    memory = node.memory_mb - (beside.memory_mb if beside else 0)
    return max(0, int(min(cores // ask.cores, memory // ask.memory_mb)))


def _with_overhead(job: SparkJob, resources: Resources) -> int:
    share = _OVERHEAD_PYTHON if job.is_python else _OVERHEAD_JVM
    return resources.memory_mb + max(_OVERHEAD_MB, int(resources.memory_mb * share))
