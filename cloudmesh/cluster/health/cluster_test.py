"""`cluster test`: every host is checked by SSH, and then tasks on all of them use what jobs will use.

What takes too long is a failed check; nothing here waits for a host that is silent.
"""

from __future__ import annotations

import importlib.resources
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.core.model import ClusterInfo, Host, Node, Role, Volume
from cloudmesh.cluster.health import bounded_job, check_results
from cloudmesh.cluster.health.bounded_job import JobRun, Jobs
from cloudmesh.cluster.health.check_results import FAILED, OK, SKIPPED, CheckResult, HostHealth
from cloudmesh.cluster.health.probe_job import ProbeJob
from cloudmesh.cluster.hosts.discovery import connection_to, hosts_of
from cloudmesh.cluster.providers.open_cluster import OpenCluster
from cloudmesh.cluster.spec.job import Executor, JobSpec, Resources, VolumeClaim
from cloudmesh.cluster.spec.spark import SparkJob
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


_LOOK_SECONDS = 45.0
_PATIENCE_SECONDS = 60.0  # of the first task, for the others
# One volume that does not answer must not take the others' time.
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
        opened: the cluster.
        info: the cluster as its engine tells it.
        volumes: that it has.
        jobs: runs jobs on it.
    """

    def __init__(self, opened: OpenCluster, info: ClusterInfo, volumes: Sequence[Volume], jobs: Jobs) -> None:
        self._context = opened.context
        self._discovered = opened.discovered
        self._info = info
        self._volumes = volumes
        self._jobs = jobs

    def run(self) -> tuple[CheckResult, ...]:
        """Return what was found, host by host."""
        results, able = self._check_hosts()
        if not able:
            return (*results, CheckResult("task", "-", SKIPPED, "no host can run one"))
        results += self._run_probe(able)
        spark_checks = {
            "compute": None,
            **{f"storage {volume.name}": volume for volume in self._volumes if not volume.directory},
        }
        # The engine chooses where Spark's processes go: on a host that failed, they would tell nothing new, and late.
        if any(result.result == FAILED and result.check in _CARRYING for result in results):
            skipped = [CheckResult(check, "-", SKIPPED, "tried once all hosts can run tasks") for check in spark_checks]
            return (*results, *skipped)
        for volume in spark_checks.values():
            results += self._run_spark(able[:1] if volume else able, volume)
        return tuple(results)

    # --- the hosts by SSH -------------------------------------------------------------------------------------------

    def _check_hosts(self) -> tuple[list[CheckResult], list[Node]]:
        """Return what the engine and the hosts say, and the nodes that can be sent a task, a server first."""
        hosts = hosts_of(self._info.nodes, self._discovered, self._context)
        results = [check_results.check_engine(node, node.name) for node in hosts.values()]
        with ExitStack() as stack:
            outcomes = parallel.run_on_hosts(lambda host: self._check_host(host, stack), {host: host for host in hosts})
        for host, node in hosts.items():
            if error := outcomes.failures.get(str(host)):
                cause = error.cause if isinstance(error, HostError) else str(error)
                remedy = f"start it, or take it out: `cms cluster remove -n {self._info.name} --force {host}`"
                results.append(CheckResult("ssh", node.name, FAILED, cause, remedy))
        skews = [health.skew for health in outcomes.values.values()]
        for host, health in outcomes.values.items():
            results += check_results.check_host(hosts[host].name, health, skews)
        unfit = {hosts[host].id for host, health in outcomes.values.items() if not health.runs_tasks}
        able = [node for node in hosts.values() if node.status == "ready" and node.cores and node.id not in unfit]
        return results, sorted(able, key=lambda node: (Role.SERVER not in node.roles, node.name))

    def _check_host(self, host: Host, stack: ExitStack) -> HostHealth:
        self._context.report.step(str(host), "look at it")
        connection = connection_to(host, self._discovered, self._context, stack)
        health = self._query_host(connection)
        self._context.report.done(str(host), "looked at")
        return health

    def _query_host(self, connection: Connection) -> HostHealth:
        folders = [volume.settings["path"] for volume in self._volumes if volume.kind == "directory"]
        inputs = {"registry": host_script.lines([self._info.registry]), "places": host_script.lines(folders)}
        before = time.time()
        body = host_script.load("host/lib.sh", "host/health.sh")
        result = connection.run(body, files=inputs, timeout=_LOOK_SECONDS)
        try:
            return check_results.parse(result.facts, (before + time.time()) / 2)
        except (KeyError, ValueError) as error:
            raise HostError(str(connection.host), f"what the host tells of itself makes no sense: {error!r}") from error

    # --- tasks on all hosts -----------------------------------------------------------------------------------------

    def _run_probe(self, able: Sequence[Node]) -> Iterator[CheckResult]:
        """Let a task on each host look for the others, for DNS and for the volumes that are mounted."""
        volumes = [volume for volume in self._volumes if volume.directory]
        mounted = {volume.name: f"/opt/cloudmesh/test/{volume.name}" for volume in volumes}
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
            run = self._run_job(job, able)
        yield from _probe_results(able, volumes, run)

    def _run_spark(self, able: Sequence[Node], volume: Volume | None) -> Iterator[CheckResult]:
        """Let Spark compute on each host; with `volume`, read there what it wrote there."""
        check = f"storage {volume.name}" if volume else "compute"
        uri = (f"${{storage.{volume.name}}}",) if volume else ()
        small = Executor(1, _SMALL_MB, len(able))
        with _programs("compute.py") as (program,):
            job = SparkJob(
                name="cms-test",
                main=program,
                arguments=(str(len(able)), *uri),
                spark_conf=_IMPATIENT if volume else {},
                driver=Resources(1, _SMALL_MB),
                executor=small,
                storage=(VolumeClaim(volume.name, ""),) if volume else (),
                ttl_seconds=600,
            )
            run = self._run_job(job, able)
        yield from _spark_results(check, able, run)

    def _run_job(self, job: JobSpec, able: Sequence[Node]) -> JobRun:
        return bounded_job.run_bounded(self._jobs, job, tuple(node.id for node in able), self._context.report)


def _probe_results(able: Sequence[Node], volumes: Sequence[Volume], run: JobRun) -> Iterator[CheckResult]:
    """Yield what the probe's tasks reported, and which of them did not report."""
    names = {str(number): node.name for number, node in enumerate(able)}
    by_number = {str(report["me"]): report for report in run.objects() if report.get("me") in names}
    reports = {number: by_number[number] for number in names if number in by_number}
    if not reports:
        remedy = "look at the jobs that take the room, and at the first server"
        yield CheckResult("task", "-", FAILED, run.failure or "the first task told nothing", remedy)
        return
    for number, name in names.items():
        if number in reports:
            yield CheckResult("task", name, OK, "its image was pulled, and it ran")
        else:
            yield check_results.missing_task(name, run.reasons.get(name) or f"its task did not come to {names['0']}")
    yield from check_results.check_network(names, reports)
    yield from check_results.check_dns(names, reports)
    for volume in volumes:
        yield from check_results.check_volume(volume, names, reports)


def _spark_results(check: str, able: Sequence[Node], run: JobRun) -> Iterator[CheckResult]:
    """Yield whether Spark's answer is right, and which hosts it came from."""
    answer = next(run.objects(), {})
    if answer.get("sum") != _ANSWER:
        cause = run.failure or f"the answer is {answer.get('sum')} and not {_ANSWER}"
        yield CheckResult(check, "-", FAILED, cause, "look at the log of a job of your own, and at the findings above")
        return
    everywhere = answer.get("executors") == len(able)
    for node in able:
        if everywhere or node.name in run.hosts:
            yield CheckResult(check, node.name, OK, "Spark's answer is right")
        else:
            cause = run.reasons.get(node.name) or "Spark's answer is right, but no executor came up on this host"
            yield CheckResult(
                check, node.name, FAILED, cause, "see that the host has room for jobs, and reaches the others"
            )


@contextmanager
def _programs(*names: str) -> Iterator[tuple[Path, ...]]:
    """Yield the paths of programs of ours, wherever this package is installed."""
    folder = importlib.resources.files("cloudmesh.images").joinpath("cluster_test")
    with ExitStack() as stack:
        yield tuple(stack.enter_context(importlib.resources.as_file(folder.joinpath(name))) for name in names)
