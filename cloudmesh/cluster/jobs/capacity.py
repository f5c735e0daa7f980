"""Answers whether the nodes of a cluster could ever run a job, and which nodes have the most free resources."""

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
        submission: the job, with the hosts that were chosen for it.
        nodes: the nodes that take jobs.
        spark_overhead_mb: see `Engine.spark_overhead_mb`.
    """
    if is_spark(submission):
        return why_spark_unschedulable(*spark_requests(submission.job, beside_mb=spark_overhead_mb), nodes)
    return why_tasks_unschedulable(submission.job.layout(submission.hosts), nodes)


def why_spark_unschedulable(driver: ResourceRequest, executors: ResourceRequest, nodes: Sequence[Node]) -> str:
    """Return why a Spark job could not run even on an idle cluster; empty if it could.

    Args:
        driver: the resources of the driver.
        executors: the number of executors, and the resources of each.
        nodes: the nodes that take jobs.
    """
    for what, request in (("the driver", driver), ("an executor", executors)):
        if not any(_count_fitting(node, request) for node in nodes):
            return _say_too_large(what, request, nodes)
    fitting = sum(_count_fitting(node, executors) for node in nodes)
    if fitting < executors.instances:
        return _say_too_many("executors", executors, fitting)
    # The driver needs room, too: the best node for it is the one that loses the fewest executors to it.
    with_driver = max(
        fitting - _count_fitting(node, executors) + _count_fitting(node, executors, beside=driver)
        for node in nodes
        if _count_fitting(node, driver)
    )
    if with_driver < executors.instances:
        return f"the driver and {executors.instances} executors: the hosts have room for the driver and {with_driver}"
    return ""


def why_tasks_unschedulable(layout: TaskLayout, nodes: Sequence[Node]) -> str:
    """Return why a job of task groups could not run even on an idle cluster; empty if it could.

    Args:
        layout: the job's task groups.
        nodes: the nodes that take jobs.
    """
    for group in layout.groups:
        request = ResourceRequest(group.count, group.cores, group.memory_mb)
        allowed = [node for node in nodes if _may_run_on(group, node)]
        if not allowed and group.host:
            return f"its {_describe(group)}s are bound to the host {group.host}, which takes no jobs"
        if not any(_count_fitting(node, request) for node in allowed):
            return _say_too_large(f"a {_describe(group)}", request, allowed)
        fitting = sum(_count_fitting(node, request) for node in allowed)
        if fitting < group.count:
            return _say_too_many(f"{_describe(group)}s", request, fitting)
    # Groups bound to a host are placed first, then single tasks: the last group is not placed in different ways.
    groups = sorted(layout.groups, key=lambda group: (not group.host, group.count > 1, -group.memory_mb))
    if not _fit_together(groups, nodes):
        tasks = " and ".join(f"{group.count} {_describe(group)}s" for group in layout.groups)
        return f"{tasks} have room on the hosts by themselves, but not all together"
    return ""


def hosts_with_most_free(nodes: Sequence[Node], count: int) -> tuple[str, ...]:
    """Return the engine's identifiers of the `count` ready nodes with the most free memory; fewer if there are fewer.

    Args:
        nodes: the nodes that take jobs.
        count: how many nodes are needed.
    """
    ready = [node for node in nodes if node.status == "ready" and node.cores]
    ready.sort(key=lambda node: (-node.free_memory_mb, -node.free_cores, node.name))
    return tuple(node.id for node in ready[:count])


def _fit_together(groups: Sequence[TaskGroup], nodes: Sequence[Node]) -> bool:
    """Return whether all tasks of `groups` have room together on empty `nodes`."""
    if not groups:
        return True
    group, *others = groups
    if group.host:
        return _fit_bound(groups, nodes)
    request = ResourceRequest(group.count, group.cores, group.memory_mb)
    if not others:
        return sum(_count_fitting(node, request) for node in nodes if _may_run_on(group, node)) >= group.count
    return any(_fit_together(others, remaining) for remaining in _place(group, request, nodes))


def _fit_bound(groups: Sequence[TaskGroup], nodes: Sequence[Node]) -> bool:
    """Return the same where the first groups are bound to hosts: each can be placed in one way only."""
    remaining = list(nodes)
    bound = [group for group in groups if group.host]
    for group in bound:
        request = ResourceRequest(group.count, group.cores, group.memory_mb)
        placed = next(_place(group, request, remaining), None)
        if placed is None:
            return False
        remaining = placed
    return _fit_together([group for group in groups if not group.host], remaining)


def _place(group: TaskGroup, request: ResourceRequest, nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Yield the nodes with the resources that remain on them beside `group`.

    A single task is placed in every way that makes a difference, several tasks in one way only: on the first nodes with
    room for them. Nothing is yielded where the group has no room.
    """
    tried: set[tuple[float, int]] = set()
    if group.count == 1:
        for index, node in enumerate(nodes):
            size = (node.cores, node.memory_mb)
            if _may_run_on(group, node) and _count_fitting(node, request) and size not in tried:
                tried.add(size)
                yield [*nodes[:index], _subtract(node, request, 1), *nodes[index + 1 :]]
        return
    remaining, waiting = [], group.count
    for node in nodes:
        count = min(waiting, _count_fitting(node, request)) if _may_run_on(group, node) else 0
        remaining.append(_subtract(node, request, count))
        waiting -= count
    if not waiting:
        yield remaining


def _may_run_on(group: TaskGroup, node: Node) -> bool:
    return group.host in ("", node.id, node.name)


def _describe(group: TaskGroup) -> str:
    return "task" if group.name == "task" else f"{group.name} task"


def _subtract(node: Node, request: ResourceRequest, count: int) -> Node:
    """Return the node without the resources of `count` tasks."""
    cores, memory_mb = node.cores - count * request.cores, node.memory_mb - count * request.memory_mb
    return replace(node, cores=cores, memory_mb=memory_mb)


def _say_too_large(what: str, request: ResourceRequest, nodes: Sequence[Node]) -> str:
    largest = max(nodes, key=lambda node: node.memory_mb, default=None)
    has = f"the largest has {largest.cores:g} cores and {largest.memory_mb} MiB" if largest else "none takes jobs"
    return f"{what} needs {request.cores} cores and {request.memory_mb} MiB on one host, and {has}"


def _say_too_many(what: str, request: ResourceRequest, fitting: int) -> str:
    size = f"{request.cores} cores and {request.memory_mb} MiB"
    return f"{request.instances} {what} of {size}: the hosts have room for {fitting}"


def _count_fitting(node: Node, request: ResourceRequest, beside: ResourceRequest | None = None) -> int:
    """Return how many tasks of this size fit on an empty node, beside one of the size `beside`."""
    cores = node.cores - (beside.cores if beside else 0)
    memory_mb = node.memory_mb - (beside.memory_mb if beside else 0)
    return max(0, int(min(cores // request.cores, memory_mb // request.memory_mb)))
