"""Whether the hosts of a cluster could ever run a job, and which of them have most room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cloudmesh.cluster.core.model import Node
from cloudmesh.cluster.providers.base import Submission, is_spark
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.spark import ResourceRequest, spark_requests
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout


def why_unschedulable(submission: Submission[JobSpec], nodes: Sequence[Node], spark_overhead_mb: int) -> str:
    """Return why a job could not run even on an idle cluster; empty if it could.

    Args:
        submission: the job, with the hosts that it is given.
        nodes: that take jobs.
        spark_overhead_mb: see `Engine.spark_overhead_mb`.
    """
    if is_spark(submission):
        return why_spark_unschedulable(*spark_requests(submission.job, beside_mb=spark_overhead_mb), nodes)
    return why_tasks_unschedulable(submission.job.layout(submission.hosts), nodes)


def why_spark_unschedulable(driver: ResourceRequest, executors: ResourceRequest, nodes: Sequence[Node]) -> str:
    """Return why a Spark job could not run even on an idle cluster; empty if it could.

    Args:
        driver: what it needs.
        executors: what they need.
        nodes: that take jobs.
    """
    for what, ask in (("the driver", driver), ("an executor", executors)):
        if not any(_room(node, ask) for node in nodes):
            return _too_large(what, ask, nodes)
    places = sum(_room(node, executors) for node in nodes)
    if places < executors.instances:
        return _too_many("executors", executors, places)
    # The driver takes a place too; it is enough to know whether one host still has room beside its share of executors.
    with_driver = max(
        places - _room(node, executors) + _room(node, executors, beside=driver) for node in nodes if _room(node, driver)
    )
    if with_driver < executors.instances:
        return f"the driver and {executors.instances} executors: the hosts have room for the driver and {with_driver}"
    return ""


def why_tasks_unschedulable(layout: TaskLayout, nodes: Sequence[Node]) -> str:
    """Return why a job of tasks could not run even on an idle cluster; empty if it could.

    Args:
        layout: of the job.
        nodes: that take jobs.
    """
    for part in layout.parts:
        ask = ResourceRequest(part.count, part.cores, part.memory_mb)
        allowed = _allowed(part, nodes)
        if not allowed and part.host:
            return f"its {_called(part)}s are bound to the host {part.host}, which takes no jobs"
        if not any(_room(node, ask) for node in allowed):
            return _too_large(f"a {_called(part)}", ask, allowed)
        places = sum(_room(node, ask) for node in allowed)
        if places < part.count:
            return _too_many(f"{_called(part)}s", ask, places)
    # Bound ones first, then single ones; what comes last needs no trying.
    parts = sorted(layout.parts, key=lambda part: (not part.host, part.count > 1, -part.memory_mb))
    if not _fits(parts, nodes):
        every = " and ".join(f"{part.count} {_called(part)}s" for part in layout.parts)
        return f"{every} have room on the hosts by themselves, but not all together"
    return ""


def hosts_with_most_free(nodes: Sequence[Node], count: int) -> tuple[str, ...]:
    """Return the engine's names of the `count` hosts with most free room; fewer where there are fewer.

    Args:
        nodes: that take jobs.
        count: how many.
    """
    ready = [node for node in nodes if node.status == "ready" and node.cores]
    ready.sort(key=lambda node: (-node.free_memory_mb, -node.free_cores, node.name))
    return tuple(node.id for node in ready[:count])


def _fits(parts: Sequence[TaskGroup], nodes: Sequence[Node]) -> bool:
    """Return whether all `parts` have room together on empty `nodes`."""
    if not parts:
        return True
    part, *others = parts
    ask = ResourceRequest(part.count, part.cores, part.memory_mb)
    if not others:
        return sum(_room(node, ask) for node in _allowed(part, nodes)) >= part.count
    return any(_fits(others, left) for left in _placed(part, ask, nodes))


def _placed(part: TaskGroup, ask: ResourceRequest, nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Yield what the nodes have left with `part` on them: every way for a single task, one way for many."""
    tried: set[tuple[float, int]] = set()
    if part.count == 1:
        for index, node in enumerate(nodes):
            size = (node.cores, node.memory_mb)
            if _may(part, node) and _room(node, ask) and (part.host or size not in tried):
                tried.add(size)
                yield [*nodes[:index], _without(node, ask, 1), *nodes[index + 1 :]]
        return
    left, waiting = [], part.count
    for node in nodes:
        taken = min(waiting, _room(node, ask)) if _may(part, node) else 0
        left.append(_without(node, ask, taken))
        waiting -= taken
    if not waiting:
        yield left


def _allowed(part: TaskGroup, nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if _may(part, node)]


def _may(part: TaskGroup, node: Node) -> bool:
    return part.host in ("", node.id, node.name)


def _called(part: TaskGroup) -> str:
    return "task" if part.name == "task" else f"{part.name} task"


def _without(node: Node, ask: ResourceRequest, count: int) -> Node:
    return replace(node, cores=node.cores - count * ask.cores, memory_mb=node.memory_mb - count * ask.memory_mb)


def _too_large(what: str, ask: ResourceRequest, nodes: Sequence[Node]) -> str:
    largest = max(nodes, key=lambda node: node.memory_mb, default=None)
    has = f"the largest has {largest.cores:g} cores and {largest.memory_mb} MiB" if largest else "none takes jobs"
    return f"{what} needs {ask.cores} cores and {ask.memory_mb} MiB on one host, and {has}"


def _too_many(what: str, ask: ResourceRequest, places: int) -> str:
    return f"{ask.instances} {what} of {ask.cores} cores and {ask.memory_mb} MiB: the hosts have room for {places}"


def _room(node: Node, ask: ResourceRequest, beside: ResourceRequest | None = None) -> int:
    """Return how many of `ask` an empty `node` can take, one `beside` being there."""
    cores = node.cores - (beside.cores if beside else 0)
    memory = node.memory_mb - (beside.memory_mb if beside else 0)
    return max(0, int(min(cores // ask.cores, memory // ask.memory_mb)))
