"""What a job needs of its hosts, whether they could ever give it, and what an exit code means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from cloudmesh.cluster.jobs.model import Resources, SparkJob
from cloudmesh.cluster.jobs.parts import Layout, Part
from cloudmesh.cluster.model import Node

# A JVM needs memory beside its heap, and Python's workers live there too.
_OVERHEAD_MB, _OVERHEAD_PYTHON, _OVERHEAD_JVM = 384, 0.4, 0.1
TIMED_OUT = 124
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


def crowded(layout: Layout, nodes: Sequence[Node]) -> str:
    """Return why a job of parts could never run, though the cluster were empty; empty if it could.

    Args:
        layout: of the job.
        nodes: that take jobs.
    """
    for part in layout.parts:
        ask = Ask(part.count, part.cores, part.memory_mb)
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


def roomiest(nodes: Sequence[Node], count: int) -> tuple[str, ...]:
    """Return the engine's names of the `count` hosts with most free room; fewer where there are fewer.

    Args:
        nodes: that take jobs.
        count: how many.
    """
    ready = [node for node in nodes if node.status == "ready" and node.cores]
    ready.sort(key=lambda node: (-node.free_memory_mb, -node.free_cores, node.name))
    return tuple(node.id for node in ready[:count])


def why(exit_code: int | None, *, out_of_memory: bool = False) -> str:
    """Return why a process failed, in words; empty where its exit code does not tell."""
    if out_of_memory:
        return "out of memory: give it more"
    if exit_code == TIMED_OUT:
        return "timeout: it ran longer than timeoutSeconds"
    if exit_code == _KILLED:
        # Not every engine always hears from the kernel, before the process is gone, that memory was the cause.
        return f"killed (exit code {_KILLED}): most likely out of memory"
    if exit_code == _TERMINATED:
        return f"killed (exit code {exit_code})"
    return f"exit code {exit_code}" if exit_code else ""


def _fits(parts: Sequence[Part], nodes: Sequence[Node]) -> bool:
    """Return whether all `parts` have room together on empty `nodes`."""
    if not parts:
        return True
    part, *others = parts
    ask = Ask(part.count, part.cores, part.memory_mb)
    if not others:
        return sum(_room(node, ask) for node in _allowed(part, nodes)) >= part.count
    return any(_fits(others, left) for left in _placed(part, ask, nodes))


def _placed(part: Part, ask: Ask, nodes: Sequence[Node]) -> Iterator[list[Node]]:
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


def _allowed(part: Part, nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if _may(part, node)]


def _may(part: Part, node: Node) -> bool:
    return part.host in ("", node.id, node.name)


def _called(part: Part) -> str:
    return "task" if part.name == "task" else f"{part.name} task"


def _without(node: Node, ask: Ask, count: int) -> Node:
    return replace(node, cores=node.cores - count * ask.cores, memory_mb=node.memory_mb - count * ask.memory_mb)


def _too_large(what: str, ask: Ask, nodes: Sequence[Node]) -> str:
    largest = max(nodes, key=lambda node: node.memory_mb, default=None)
    has = f"the largest has {largest.cores:g} cores and {largest.memory_mb} MiB" if largest else "none takes jobs"
    return f"{what} needs {ask.cores} cores and {ask.memory_mb} MiB on one host, and {has}"


def _too_many(what: str, ask: Ask, places: int) -> str:
    return f"{ask.instances} {what} of {ask.cores} cores and {ask.memory_mb} MiB: the hosts have room for {places}"


def _room(node: Node, ask: Ask, beside: Ask | None = None) -> int:
    """Return how many of `ask` an empty `node` can take, one `beside` being there."""
    cores = node.cores - (beside.cores if beside else 0)
    memory = node.memory_mb - (beside.memory_mb if beside else 0)
    return max(0, int(min(cores // ask.cores, memory // ask.memory_mb)))


def _with_overhead(job: SparkJob, resources: Resources) -> int:
    share = _OVERHEAD_PYTHON if job.is_python else _OVERHEAD_JVM
    return resources.memory_mb + max(_OVERHEAD_MB, int(resources.memory_mb * share))
