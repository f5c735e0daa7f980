"""How many Spark jobs run beside each other on Kubernetes: their drivers alone never fill the hosts."""

import itertools
from pathlib import Path

import pytest

from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.jobs.capacity import why_spark_unschedulable
from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.kubernetes import driver_admission, pod_spec, spark_job
from cloudmesh.cluster.spec.spark import ResourceRequest, SparkJob

GIB = 1024


def host(cores: float = 2, memory_mb: int = 4 * GIB, name: str = "h") -> Node:
    resources = {"cores": cores, "memory_mb": memory_mb, "free_cores": cores, "free_memory_mb": memory_mb}
    return Node(name, "10.0.0.1", (Role.WORKER,), "ready", id=name, **resources)


def ask(cores: int = 1, count: int = 1, memory_mb: int = GIB) -> ResourceRequest:
    return ResourceRequest(count, cores, memory_mb)


def waiting(
    name: str, together: int, driver: ResourceRequest, executors: ResourceRequest, *, begun: bool = False
) -> driver_admission.UnfinishedSparkJob:
    return driver_admission.UnfinishedSparkJob(name, together, driver, executors, begun)


@pytest.mark.parametrize(
    ("hosts", "executors", "together"),
    [
        ([host()], ask(), 1),
        ([host(), host()], ask(), 2),
        ([host(), host()], ask(count=2), 1),
        ([host(4), host(4)], ask(count=3), 2),
        ([host(4, 2 * GIB), host(4, 2 * GIB)], ask(), 2),
        ([host(8, 64 * GIB)], ask(), 4),
        # What is left of a host is no room where no executor fits.
        ([host(4), host(1), host(1)], ask(2), 1),
        ([host(0.5)], ask(), 1),
    ],
)
def test_as_many_run_as_have_room_with_all_their_executors(hosts, executors, together):
    assert driver_admission.admit(ask(), executors, hosts, []).max_drivers == together


def test_the_largest_jobs_must_have_room_beside_each_other():
    large = waiting("large", 1, ask(2), ask(2, count=2))
    hosts = [host(4)] * 3
    assert driver_admission.admit(ask(), ask(), hosts, []).max_drivers == 6
    assert driver_admission.admit(ask(), ask(), hosts, [large]).max_drivers == 4
    assert driver_admission.admit(ask(), ask(), hosts, [large, large]).max_drivers == 2


def test_jobs_that_wait_and_were_given_a_higher_number_do_not_begin_beside_one_that_they_would_choke():
    small = [waiting("waits", 6, ask(), ask()), waiting("runs", 6, ask(), ask(), begun=True)]
    hosts = [host(4)] * 3
    assert driver_admission.admit(ask(), ask(), hosts, small)[:2] == (6, ())
    # Beside it, others have room for an executor wherever they are; or they have not.
    assert driver_admission.admit(ask(), ask(count=6), hosts, small)[:2] == (3, ())
    many = [waiting(f"w{number}", 6, ask(), ask()) for number in range(5)]
    assert driver_admission.admit(ask(4), ask(4), hosts, many)[:2] == (3, tuple(job.id for job in many))
    assert driver_admission.admit(
        ask(memory_mb=4 * GIB), ask(memory_mb=4 * GIB, count=2), hosts, small
    ).never_beside == ("waits",)


@pytest.mark.parametrize(
    ("cores", "kept_away"), [((4, 2), ["h0"]), ((5, 2), []), ((4, 4), []), ((4, 0), []), ((3, 2), [])]
)
def test_a_driver_is_not_where_alone_its_executors_have_room(cores, kept_away):
    hosts = [host(cores_of_host, name=f"h{number}") for number, cores_of_host in enumerate(cores)]
    assert list(driver_admission.admit(ask(), ask(4), hosts, []).never_on) == kept_away


def spread(count: int, hosts: int) -> set[tuple[int, ...]]:
    """Return every way to have so many drivers on so many hosts."""
    ways = itertools.product(range(count + 1), repeat=hosts)
    return {way for way in ways if sum(way) == count}


@pytest.mark.parametrize("cores", [1, 2, 3, 4])
@pytest.mark.parametrize("hosts", [1, 2, 3])
def test_wherever_the_drivers_are_an_executor_has_room(cores, hosts):
    sizes = itertools.product(range(1, cores + 1), range(1, cores + 1), range(1, cores * hosts + 1))
    for driver, executor, count in sizes:
        requests = ask(driver), ask(executor, count)
        nodes = [host(cores, 99 * GIB)] * hosts
        if why_spark_unschedulable(*requests, nodes):
            continue
        drivers = driver_admission.admit(*requests, nodes, []).max_drivers
        for way in spread(drivers, hosts):
            if all(number * driver <= cores for number in way):
                assert any(cores - number * driver >= executor for number in way), (requests, way)


def test_a_job_tells_what_the_next_ones_reckon_with_until_it_has_ended():
    job = SparkJob("pi", main=Path("/pi.py"))
    job_object = spark_job.build_spark_job(Submission("pi-1", job, "i", "d"), driver_admission.Admission(3))
    driver = {"metadata": {"labels": {pod_spec.JOB: "pi-1", pod_spec.ROLE: pod_spec.DRIVER}}, "spec": {}}
    (unfinished,) = driver_admission.find_unfinished_spark_jobs([job_object], [driver])
    assert (unfinished.id, unfinished.max_drivers, unfinished.driver.cores, unfinished.has_started) == (
        "pi-1",
        3,
        1,
        False,
    )
    driver["spec"]["nodeName"] = "h1"
    assert driver_admission.find_unfinished_spark_jobs([job_object], [driver])[0].has_started
    over = {**job_object, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    assert driver_admission.find_unfinished_spark_jobs([over, {"metadata": {"name": "native"}}], []) == []


def test_the_scheduler_is_told_of_the_whole_cluster_as_one_of_two_domains():
    admission = driver_admission.Admission(3, ("a", "b"), ("h1", "h2"))
    job_object = spark_job.build_spark_job(Submission("pi-1", SparkJob("pi", main=Path("/pi.py")), "i", "d"), admission)
    pod = job_object["spec"]["template"]["spec"]
    (rule,) = pod["topologySpreadConstraints"]
    assert (rule["maxSkew"], rule["minDomains"], rule["whenUnsatisfiable"]) == (3, 2, "DoNotSchedule")
    assert rule["labelSelector"]["matchLabels"] == {pod_spec.ROLE: "driver"}
    (term,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchExpressions"][0]["values"] == ["a", "b"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [expression["values"] for expression in term["matchFields"]] == [["h1"], ["h2"]]
    assert rule["nodeAffinityPolicy"] == "Ignore"
