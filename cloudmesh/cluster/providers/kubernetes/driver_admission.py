"""Decides how many drivers of Spark jobs may run at the same time, so that their executors have room.

The problem: a driver that runs requests its executors one by one. If many jobs were submitted at once, their drivers
could take all the room there is, and each would wait for executors for ever.

The solution: when a job is submitted, a limit is computed for it: its driver may start only while fewer than so many
drivers run. The limit is the number of jobs that have room together, drivers and executors, even if these are the
largest jobs.

The scheduler of Kubernetes itself enforces the limit, so that a waiting driver starts as soon as another job ends, and
no program of ours has to run for that. The limit is written as a topology spread constraint: drivers must be spread
evenly over two domains with a difference of at most the limit. One domain is the whole cluster, the other one does not
exist and always has no driver; so the difference is the number of drivers in the cluster.
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

# Annotation of a Spark job: its limit of drivers, and the resources of its driver and its executors.
ADMISSION = "cloudmesh/turn"
# Every host has this label with the same value, so that the whole cluster is one domain.
_CLUSTER_LABEL = "kubernetes.io/os"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


class Admission(NamedTuple):
    """When and where the driver of a job may start.

    Attributes:
        max_drivers: how many drivers may run then, this one included.
        never_beside: ids of waiting jobs whose limit was computed before this job came and is too high beside it; their
            drivers and this one never run at the same time.
        never_on: names of the nodes on which the driver must not run. Each is the only node with room for an executor
            of this job, and would have none beside the driver.
    """

    max_drivers: int = 1
    never_beside: tuple[str, ...] = ()
    never_on: tuple[str, ...] = ()


# The driver runs only while no other driver does.
ALONE = Admission()


class UnfinishedSparkJob(NamedTuple):
    """A Spark job that has not ended.

    Attributes:
        id: the job.
        max_drivers: its limit, see `Admission`.
        driver: the resources of its driver.
        executors: the resources of its executors.
        has_started: whether its driver has been assigned to a node.
    """

    id: str
    max_drivers: int
    driver: ResourceRequest
    executors: ResourceRequest
    has_started: bool


def admit(
    driver: ResourceRequest, executors: ResourceRequest, nodes: Sequence[Node], others: Sequence[UnfinishedSparkJob]
) -> Admission:
    """Return when and where the driver of a new job may start.

    Args:
        driver: the resources of its driver.
        executors: the resources of its executors.
        nodes: the nodes of the cluster; what is free on them is what everything except Spark jobs leaves.
        others: the Spark jobs that have not ended.
    """
    jobs = [(driver, executors), *((job.driver, job.executors) for job in others)]
    largest = ResourceRequest(
        1, max(request.cores for _, request in jobs), max(request.memory_mb for _, request in jobs)
    )
    # Nodes on which the largest executor has no room do not count, although drivers could run there.
    roomy = [node for node in nodes if _has_room(node, largest)]
    max_drivers = min(
        _count_fitting([_total_cores(*requests) for requests in jobs], sum(int(node.free_cores) for node in roomy)),
        _count_fitting([_total_memory_mb(*requests) for requests in jobs], sum(node.free_memory_mb for node in roomy)),
    )
    drivers = [driver, *(job.driver for job in others)]
    waiting = [job for job in others if not job.has_started and job.max_drivers > max_drivers]
    never_beside = (job.id for job in waiting if _can_fill(roomy, largest, drivers, job.max_drivers))
    return Admission(max_drivers, tuple(never_beside), _find_forbidden_nodes(driver, executors, nodes))


def build_annotation(admission: Admission, driver: ResourceRequest, executors: ResourceRequest) -> str:
    """Return the value of the annotation `ADMISSION`, which `find_unfinished_spark_jobs` reads for later jobs."""
    return json.dumps([admission.max_drivers, driver, executors])


def find_unfinished_spark_jobs(
    jobs: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]
) -> list[UnfinishedSparkJob]:
    """Return the Spark jobs that have not ended.

    Args:
        jobs: all Jobs of the cluster.
        pods: the pods that have not ended.
    """
    started = {
        pod_status.job_of(pod) for pod in pods if pod_status.label(pod, ROLE) == DRIVER and pod["spec"].get("nodeName")
    }
    unfinished = []
    for job in jobs:
        text = pod_status.annotation(job, ADMISSION)
        if text and not status.has_finished(job) and not pod_status.annotation(job, STOPPED):
            max_drivers, driver, executors = json.loads(text)
            job_id = job["metadata"]["name"]
            requests = ResourceRequest(*driver), ResourceRequest(*executors)
            unfinished.append(UnfinishedSparkJob(job_id, max_drivers, *requests, job_id in started))
    return unfinished


def build_scheduling_rules(admission: Admission) -> dict[str, Any]:
    """Return the fields of a driver's pod by which the scheduler of Kubernetes enforces an admission."""
    drivers = {"matchLabels": {ROLE: DRIVER}}
    spread = {
        "maxSkew": admission.max_drivers,
        "minDomains": 2,
        "topologyKey": _CLUSTER_LABEL,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": drivers,
        # Drivers count wherever they are, also on nodes on which this one must not run.
        "nodeAffinityPolicy": "Ignore",
    }
    affinity: dict[str, Any] = {}
    if admission.never_beside:
        # Kubernetes checks this rule also for pods that come later: those drivers do not start beside this one.
        expressions = [{"key": JOB, "operator": "In", "values": list(admission.never_beside)}]
        term = {"topologyKey": _CLUSTER_LABEL, "labelSelector": {**drivers, "matchExpressions": expressions}}
        affinity["podAntiAffinity"] = {_REQUIRED: [term]}
    if admission.never_on:
        # Kubernetes accepts only one name in each of these expressions.
        fields = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in admission.never_on]
        affinity["nodeAffinity"] = {_REQUIRED: {"nodeSelectorTerms": [{"matchFields": fields}]}}
    return {"topologySpreadConstraints": [spread], **({"affinity": affinity} if affinity else {})}


def _count_fitting(sizes: Iterable[int], room: int) -> int:
    """Return how many jobs always have room together, whichever they are; at least 1.

    Args:
        sizes: what each job needs. Jobs that come later are assumed to need as much as the smallest of these.
        room: what there is.
    """
    largest_first = sorted(sizes, reverse=True)
    for count, size in enumerate(largest_first):
        room -= size
        if room < 0:
            return max(1, count)
    return len(largest_first) + room // largest_first[-1]


def _find_forbidden_nodes(
    driver: ResourceRequest, executors: ResourceRequest, nodes: Sequence[Node]
) -> tuple[str, ...]:
    """Return the names of the nodes on which a driver must not run; empty if no other node had room for it."""
    with_executor_room = {node.id for node in nodes if _has_room(node, executors)}
    both = ResourceRequest(1, driver.cores + executors.cores, driver.memory_mb + executors.memory_mb)
    needed = [node for node in nodes if with_executor_room == {node.id} and not _has_room(node, both)]
    return tuple(node.id for node in needed if any(_has_room(other, driver) for other in nodes if other != node))


def _has_room(node: Node, request: ResourceRequest) -> bool:
    """Return whether one instance of `request` has room on a node."""
    return node.free_cores >= request.cores and node.free_memory_mb >= request.memory_mb


def _can_fill(nodes: Sequence[Node], executor: ResourceRequest, drivers: Sequence[ResourceRequest], count: int) -> bool:
    """Return whether `count` drivers could be placed so that no node has room for an executor.

    The estimate is on the safe side: it takes the largest drivers, and lets them fill nodes by cores and by memory.
    """
    cores = sum(sorted((request.cores for request in drivers), reverse=True)[:count])
    memory = sum(sorted((request.memory_mb for request in drivers), reverse=True)[:count])
    by_cores = _count_filled((int(node.free_cores) - executor.cores + 1 for node in nodes), cores)
    by_memory = _count_filled((node.free_memory_mb - executor.memory_mb + 1 for node in nodes), memory)
    return by_cores + by_memory >= len(nodes)


def _count_filled(needed: Iterable[int], amount: int) -> int:
    """Return how many nodes `amount` can fill at most; `needed` says how much each node takes to be filled."""
    return sum(total <= amount for total in accumulate(sorted(needed)))


def _total_cores(*requests: ResourceRequest) -> int:
    return sum(request.instances * request.cores for request in requests)


def _total_memory_mb(*requests: ResourceRequest) -> int:
    return sum(request.instances * request.memory_mb for request in requests)
