"""When, and where, the drivers of Spark jobs begin, so that their executors have room. Pure.

A driver asks for its executors when it runs. Without a bound, the drivers of many jobs would fill the hosts, and each
would wait for executors for ever. So every job comes with a number: so many drivers may run when its own begins, itself
included, that they have room as a whole, whichever of the jobs they are. The scheduler itself keeps to it: to spread
the drivers over domains, of which the whole cluster is one and another is missing. What waits is begun by it as soon
as one ends, with nobody of ours there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from cloudmesh.cluster.core.model import Node
from cloudmesh.cluster.providers.kubernetes import pod_status, status
from cloudmesh.cluster.providers.kubernetes.pod_spec import DRIVER, JOB, ROLE, STOPPED
from cloudmesh.cluster.spec.spark import ResourceRequest

# Annotation of a Spark job: its number, and what its driver and its executors need.
ADMISSION = "cloudmesh/turn"
# Every host has this label, with the same value.
_CLUSTER = "kubernetes.io/os"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


class Admission(NamedTuple):
    """When and where a driver may begin.

    Attributes:
        together: how many drivers may run then, itself included.
        never_beside: jobs that wait, and that were given a number which is too high beside this one.
        never_on: hosts that alone have room for an executor, and would have none beside the driver.
    """

    together: int = 1
    never_beside: tuple[str, ...] = ()
    never_on: tuple[str, ...] = ()


ALONE = Admission()


class UnfinishedSparkJob(NamedTuple):
    """A Spark job that has not ended."""

    id: str
    together: int
    driver: ResourceRequest
    executors: ResourceRequest
    begun: bool


def admit(
    driver: ResourceRequest, executors: ResourceRequest, hosts: Sequence[Node], others: Sequence[UnfinishedSparkJob]
) -> Admission:
    """Return when and where a new job may begin.

    Args:
        driver: what it needs.
        executors: what they need.
        hosts: with what all but Spark jobs leave free.
        others: Spark jobs that have not ended.
    """
    every = [(driver, executors), *((each.driver, each.executors) for each in others)]
    largest = ResourceRequest(1, max(ask.cores for _, ask in every), max(ask.memory_mb for _, ask in every))
    # Room where no executor fits is no room: drivers would take it beside the other.
    fit = [host for host in hosts if _has_room(host, largest)]
    together = min(
        _together([_cores(*asks) for asks in every], sum(int(host.free_cores) for host in fit)),
        _together([_memory_mb(*asks) for asks in every], sum(host.free_memory_mb for host in fit)),
    )
    drivers = [driver, *(each.driver for each in others)]
    hopeful = [each for each in others if not each.begun and each.together > together]
    never_beside = (each.id for each in hopeful if _may_fill(fit, largest, drivers, each.together))
    return Admission(together, tuple(never_beside), _never_on(driver, executors, hosts))


def build_annotation(its: Admission, driver: ResourceRequest, executors: ResourceRequest) -> str:
    """Return what is kept of a job, so that the next ones can be given their numbers."""
    return json.dumps([its.together, driver, executors])


def find_unfinished_spark_jobs(
    jobs: Iterable[Mapping[str, Any]], living: Iterable[Mapping[str, Any]]
) -> list[UnfinishedSparkJob]:
    """Return the Spark jobs that have not ended.

    Args:
        jobs: all Jobs.
        living: pods that have not ended.
    """
    begun = {pod_status.job_of(pod) for pod in living if _is_driver(pod) and pod["spec"].get("nodeName")}
    found = []
    for job in jobs:
        kept = pod_status.annotation(job, ADMISSION)
        if kept and not status.has_finished(job) and not pod_status.annotation(job, STOPPED):
            together, driver, executors = json.loads(kept)
            name = job["metadata"]["name"]
            found.append(
                UnfinishedSparkJob(name, together, ResourceRequest(*driver), ResourceRequest(*executors), name in begun)
            )
    return found


def build_scheduling_rules(its: Admission) -> dict[str, Any]:
    """Return the fields of a driver's pod that make the scheduler keep to its turn."""
    drivers = {"matchLabels": {ROLE: DRIVER}}
    spread = {
        "maxSkew": its.together,
        "minDomains": 2,
        "topologyKey": _CLUSTER,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": drivers,
        # Drivers count wherever they are, also where this one must not be.
        "nodeAffinityPolicy": "Ignore",
    }
    affinity: dict[str, Any] = {}
    if its.never_beside:
        # It holds for those that come later as well: they do not begin beside this one.
        those = [{"key": JOB, "operator": "In", "values": list(its.never_beside)}]
        term = {"topologyKey": _CLUSTER, "labelSelector": {**drivers, "matchExpressions": those}}
        affinity["podAntiAffinity"] = {_REQUIRED: [term]}
    if its.never_on:
        those = [{"key": "metadata.name", "operator": "NotIn", "values": [host]} for host in its.never_on]
        affinity["nodeAffinity"] = {_REQUIRED: {"nodeSelectorTerms": [{"matchFields": those}]}}
    return {"topologySpreadConstraints": [spread], **({"affinity": affinity} if affinity else {})}


def _together(sizes: Iterable[int], room: int) -> int:
    """Return how many jobs fit into `room` whichever they are, those to come being like the smallest; 1 at least."""
    largest_first = sorted(sizes, reverse=True)
    for number, size in enumerate(largest_first):
        room -= size
        if room < 0:
            return max(1, number)
    return len(largest_first) + room // largest_first[-1]


def _never_on(driver: ResourceRequest, executors: ResourceRequest, hosts: Sequence[Node]) -> tuple[str, ...]:
    """Return the hosts that a driver must not be on; none where that would be all that could take it."""
    fit = {host.id for host in hosts if _has_room(host, executors)}
    beside = ResourceRequest(1, driver.cores + executors.cores, driver.memory_mb + executors.memory_mb)
    last = [host for host in hosts if fit == {host.id} and not _has_room(host, beside)]
    return tuple(host.id for host in last if any(_has_room(other, driver) for other in hosts if other != host))


def _has_room(host: Node, ask: ResourceRequest) -> bool:
    return host.free_cores >= ask.cores and host.free_memory_mb >= ask.memory_mb


def _may_fill(hosts: Sequence[Node], executor: ResourceRequest, drivers: Sequence[ResourceRequest], count: int) -> bool:
    """Return whether so many drivers could be where they leave no host with room for an executor."""
    cores = sum(sorted((ask.cores for ask in drivers), reverse=True)[:count])
    memory = sum(sorted((ask.memory_mb for ask in drivers), reverse=True)[:count])
    by_cores = _filled((int(host.free_cores) - executor.cores + 1 for host in hosts), cores)
    by_memory = _filled((host.free_memory_mb - executor.memory_mb + 1 for host in hosts), memory)
    return by_cores + by_memory >= len(hosts)


def _filled(needed: Iterable[int], amount: int) -> int:
    """Return how many hosts `amount` fills at most, each of which needs so much for it."""
    return sum(total <= amount for total in accumulate(sorted(needed)))


def _cores(*asks: ResourceRequest) -> int:
    return sum(ask.instances * ask.cores for ask in asks)


def _memory_mb(*asks: ResourceRequest) -> int:
    return sum(ask.instances * ask.memory_mb for ask in asks)


def _is_driver(pod: Mapping[str, Any]) -> bool:
    return pod_status.label(pod, ROLE) == DRIVER
