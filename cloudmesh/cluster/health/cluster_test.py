"""A cluster proves itself: every host is looked at, and then tasks on all of them use what jobs will use.

What cannot be done in its time is a finding; nothing here waits for a host that is silent.
"""

from __future__ import annotations

import importlib.resources
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.core.model import ClusterInfo, Host, Node, Role, Volume
from cloudmesh.cluster.health import bounded_job, check_results
from cloudmesh.cluster.health.bounded_job import JobRun
from cloudmesh.cluster.health.check_results import FAILED, OK, SKIPPED, CheckResult, HostHealth
from cloudmesh.cluster.health.probe_job import ProbeJob
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, connection_to, hosts_of
from cloudmesh.cluster.jobs.service import JobService
from cloudmesh.cluster.spec.job import Executor, JobSpec, Resources, VolumeClaim
from cloudmesh.cluster.spec.spark import SparkJob
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


_LOOK_SECONDS = 45.0
_PATIENCE_SECONDS = 60.0  # of the first task, for the others
# One place that does not answer must not take the others' time.
_IMPATIENT = {
    "spark.task.maxFailures": "1",
    "spark.hadoop.fs.s3a.attempts.maximum": "2",
    "spark.hadoop.fs.s3a.retry.limit": "2",
    "spark.hadoop.ipc.client.connect.max.retries": "2",
}
_ANSWER = sum(range(1000))
_SMALL_MB = 512
# What has to be well for a job that may run on any host.
_CARRYING = ("engine", "ssh", "disk", "registry", "runtime", "task", "network")


class ClusterTest:
    """One test of a cluster.

    Args:
        context: the operator's side.
        membership: the cluster.
        cluster: as its engine tells it.
        places: for data, that it has.
        workload: its jobs.
    """

    def __init__(
        self,
        context: Context,
        membership: DiscoveredCluster,
        cluster: ClusterInfo,
        places: Sequence[Volume],
        workload: Callable[[], JobService],
    ) -> None:
        self._context = context
        self._membership = membership
        self._cluster = cluster
        self._volumes = places
        self._workload = workload

    def run(self) -> tuple[CheckResult, ...]:
        """Return what was found, host by host."""
        found, able = self._looked_at()
        if not able:
            return (*found, CheckResult("task", "-", SKIPPED, "no host can run one"))
        found += self._probed(able)
        spark = {
            "compute": None,
            **{f"storage {each.name}": each for each in self._volumes if not each.directory},
        }
        # The engine chooses where Spark's processes go: on a host that failed, they would tell nothing new, and late.
        if any(each.result == FAILED and each.check in _CARRYING for each in found):
            return (
                *found,
                *(CheckResult(check, "-", SKIPPED, "tried once all hosts can run tasks") for check in spark),
            )
        for place in spark.values():
            found += self._computed(able[:1] if place else able, place)
        return tuple(found)

    # --- the hosts by SSH -------------------------------------------------------------------------------------------

    def _looked_at(self) -> tuple[list[CheckResult], list[Node]]:
        """Return what the engine and the hosts say, and the nodes that can be sent a task, a server first."""
        hosts = hosts_of(self._cluster.nodes, self._membership, self._context)
        found = [check_results.check_engine(node, node.name) for node in hosts.values()]
        with ExitStack() as stack:
            outcomes = parallel.run_on_hosts(lambda host: self._look(host, stack), {host: host for host in hosts})
        for host, node in hosts.items():
            if error := outcomes.failures.get(str(host)):
                cause = error.cause if isinstance(error, HostError) else str(error)
                found.append(
                    CheckResult("ssh", node.name, FAILED, cause, "start it, or take it out: cms cluster remove --force")
                )
        skews = [health.skew for health in outcomes.values.values()]
        for host, health in outcomes.values.items():
            found += check_results.check_host(hosts[host].name, health, skews)
        unfit = {hosts[host].id for host, health in outcomes.values.items() if not health.runs_tasks}
        able = [node for node in hosts.values() if node.status == "ready" and node.cores and node.id not in unfit]
        return found, sorted(able, key=lambda node: (Role.SERVER not in node.roles, node.name))

    def _look(self, host: Host, stack: ExitStack) -> HostHealth:
        self._context.report.step(str(host), "look at it")
        connection = connection_to(host, self._membership, self._context, stack)
        health = self._asked(connection)
        self._context.report.done(str(host), "looked at")
        return health

    def _asked(self, connection: Connection) -> HostHealth:
        folders = "".join(f"{place.settings['path']}\n" for place in self._volumes if place.kind == "directory")
        inputs = {"registry": f"{self._cluster.registry}\n".encode(), "places": folders.encode()}
        before = time.time()
        body = host_script.load("host/lib.sh", "host/proof.sh")
        result = connection.run(body, files=inputs, timeout=_LOOK_SECONDS)
        try:
            return check_results.parse(result.facts, (before + time.time()) / 2)
        except (KeyError, ValueError) as error:
            raise HostError(str(connection.host), f"what the host tells of itself makes no sense: {error!r}") from error

    # --- tasks on all hosts -----------------------------------------------------------------------------------------

    def _probed(self, able: Sequence[Node]) -> Iterator[CheckResult]:
        """Let a task on each host look for the others, for DNS and for the places that are mounted."""
        places = [place for place in self._volumes if place.directory]
        mounted = {place.name: f"/opt/cloudmesh/test/{place.name}" for place in places}
        with _programs("probe.py", "meeting.py") as files:
            job = ProbeJob(
                name="cms-test",
                programs=files,
                hosts=len(able),
                patience=_PATIENCE_SECONDS,
                mounted=mounted,
                storage=tuple(VolumeClaim(name, mount) for name, mount in mounted.items()),
                ttl_seconds=600,
            )
            ran = self._ran(job, able)
        yield from _probe_results(able, places, ran)

    def _computed(self, able: Sequence[Node], place: Volume | None) -> Iterator[CheckResult]:
        """Let Spark compute on each host; with `place`, read there what it wrote there."""
        check = f"storage {place.name}" if place else "compute"
        uri = (f"${{storage.{place.name}}}",) if place else ()
        small = Executor(1, _SMALL_MB, len(able))
        with _programs("compute.py") as (program,):
            job = SparkJob(
                name="cms-test",
                main=program,
                arguments=(str(len(able)), *uri),
                spark_conf=_IMPATIENT if place else {},
                driver=Resources(1, _SMALL_MB),
                executor=small,
                storage=(VolumeClaim(place.name, ""),) if place else (),
                ttl_seconds=600,
            )
            ran = self._ran(job, able)
        yield from _spark_results(check, able, ran)

    def _ran(self, job: JobSpec, able: Sequence[Node]) -> JobRun:
        return bounded_job.run_bounded(self._workload, job, tuple(node.id for node in able), self._context.report)


def _probe_results(able: Sequence[Node], places: Sequence[Volume], ran: JobRun) -> Iterator[CheckResult]:
    """Tell what the tasks have told, and which of them have not come."""
    called = {str(number): node.name for number, node in enumerate(able)}
    came = {str(each["me"]): each for each in ran.objects() if each.get("me") in called}
    reports = {number: came[number] for number in called if number in came}
    if not reports:
        remedy = "look at the jobs that take the room, and at the first server"
        yield CheckResult("task", "-", FAILED, ran.failure or "the first task told nothing", remedy)
        return
    for number, name in called.items():
        if number in reports:
            yield CheckResult("task", name, OK, "its image was pulled, and it ran")
        else:
            yield check_results.missing_task(name, ran.reasons.get(name) or f"its task did not come to {called['0']}")
    yield from check_results.check_network(called, reports)
    yield from check_results.check_dns(called, reports)
    for place in places:
        yield from check_results.check_volume(place, called, reports)


def _spark_results(check: str, able: Sequence[Node], ran: JobRun) -> Iterator[CheckResult]:
    """Tell whether Spark's answer is right, and where it came from."""
    told = next(ran.objects(), {})
    if told.get("sum") != _ANSWER:
        cause = ran.failure or f"the answer is {told.get('sum')} and not {_ANSWER}"
        yield CheckResult(check, "-", FAILED, cause, "look at the log of a job of your own, and at the findings above")
        return
    everywhere = told.get("executors") == len(able)
    for node in able:
        if everywhere or node.name in ran.hosts:
            yield CheckResult(check, node.name, OK, "Spark's answer is right")
        else:
            cause = ran.reasons.get(node.name) or "Spark's answer is right, but no executor came up on this host"
            yield CheckResult(
                check, node.name, FAILED, cause, "see that the host has room for jobs, and reaches the others"
            )


@contextmanager
def _programs(*names: str) -> Iterator[tuple[Path, ...]]:
    """Yield the paths of programs of ours, wherever this package is installed."""
    folder = importlib.resources.files("cloudmesh.images").joinpath("proof")
    with ExitStack() as stack:
        yield tuple(stack.enter_context(importlib.resources.as_file(folder.joinpath(name))) for name in names)
