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

from cloudmesh.cluster import findings, trial
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import HostError
from cloudmesh.cluster.finder import Membership
from cloudmesh.cluster.findings import FAILED, OK, SKIPPED, Finding, Health
from cloudmesh.cluster.hosts import fleet, script
from cloudmesh.cluster.jobs.model import Executor, Job, Resources, SparkJob, Storage
from cloudmesh.cluster.jobs.probe import ProbeJob
from cloudmesh.cluster.model import Cluster, Host, Node, Place, Role
from cloudmesh.cluster.reach import connection_to, hosts_of
from cloudmesh.cluster.trial import Ran
from cloudmesh.cluster.workload import Workload

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection

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


class Proof:
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
        membership: Membership,
        cluster: Cluster,
        places: Sequence[Place],
        workload: Callable[[], Workload],
    ) -> None:
        self._context = context
        self._membership = membership
        self._cluster = cluster
        self._places = places
        self._workload = workload

    def run(self) -> tuple[Finding, ...]:
        """Return what was found, host by host."""
        found, able = self._looked_at()
        if not able:
            return (*found, Finding("task", "-", SKIPPED, "no host can run one"))
        found += self._probed(able)
        spark = {
            "compute": None,
            **{f"storage {each.name}": each for each in self._places if not each.directory},
        }
        # The engine chooses where Spark's processes go: on a host that failed, they would tell nothing new, and late.
        if any(each.result == FAILED and each.check in _CARRYING for each in found):
            return (*found, *(Finding(check, "-", SKIPPED, "tried once all hosts can run tasks") for check in spark))
        for place in spark.values():
            found += self._computed(able[:1] if place else able, place)
        return tuple(found)

    # --- the hosts by SSH -------------------------------------------------------------------------------------------

    def _looked_at(self) -> tuple[list[Finding], list[Node]]:
        """Return what the engine and the hosts say, and the nodes that can be sent a task, a server first."""
        hosts = hosts_of(self._cluster.nodes, self._membership, self._context)
        found = [findings.engine(node, node.name) for node in hosts.values()]
        with ExitStack() as stack:
            outcomes = fleet.each(lambda host: self._look(host, stack), {host: host for host in hosts})
        for host, node in hosts.items():
            if error := outcomes.failures.get(str(host)):
                cause = error.cause if isinstance(error, HostError) else str(error)
                found.append(
                    Finding("ssh", node.name, FAILED, cause, "start it, or take it out: cms cluster remove --force")
                )
        skews = [health.skew for health in outcomes.values.values()]
        for host, health in outcomes.values.items():
            found += findings.host(hosts[host].name, health, skews)
        unfit = {hosts[host].id for host, health in outcomes.values.items() if not health.runs_tasks}
        able = [node for node in hosts.values() if node.status == "ready" and node.cores and node.id not in unfit]
        return found, sorted(able, key=lambda node: (Role.SERVER not in node.roles, node.name))

    def _look(self, host: Host, stack: ExitStack) -> Health:
        self._context.report.step(str(host), "look at it")
        connection = connection_to(host, self._membership, self._context, stack)
        health = self._asked(connection)
        self._context.report.done(str(host), "looked at")
        return health

    def _asked(self, connection: Connection) -> Health:
        folders = "".join(f"{place.settings['path']}\n" for place in self._places if place.kind == "directory")
        inputs = {"registry": f"{self._cluster.registry}\n".encode(), "places": folders.encode()}
        before = time.time()
        body = script.load("host/lib.sh", "host/proof.sh")
        result = connection.run(body, files=inputs, timeout=_LOOK_SECONDS)
        try:
            return findings.parse(result.facts, (before + time.time()) / 2)
        except (KeyError, ValueError) as error:
            raise HostError(str(connection.host), f"what the host tells of itself makes no sense: {error!r}") from error

    # --- tasks on all hosts -----------------------------------------------------------------------------------------

    def _probed(self, able: Sequence[Node]) -> Iterator[Finding]:
        """Let a task on each host look for the others, for DNS and for the places that are mounted."""
        places = [place for place in self._places if place.directory]
        mounted = {place.name: f"/opt/cloudmesh/test/{place.name}" for place in places}
        with _programs("probe.py", "meeting.py") as files:
            job = ProbeJob(
                name="cms-test",
                programs=files,
                hosts=len(able),
                patience=_PATIENCE_SECONDS,
                mounted=mounted,
                storage=tuple(Storage(name, mount) for name, mount in mounted.items()),
                ttl_seconds=600,
            )
            ran = self._ran(job, able)
        yield from _told(able, places, ran)

    def _computed(self, able: Sequence[Node], place: Place | None) -> Iterator[Finding]:
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
                storage=(Storage(place.name, ""),) if place else (),
                ttl_seconds=600,
            )
            ran = self._ran(job, able)
        yield from _counted(check, able, ran)

    def _ran(self, job: Job, able: Sequence[Node]) -> Ran:
        return trial.run(self._workload, job, tuple(node.id for node in able), self._context.report)


def _told(able: Sequence[Node], places: Sequence[Place], ran: Ran) -> Iterator[Finding]:
    """Tell what the tasks have told, and which of them have not come."""
    called = {str(number): node.name for number, node in enumerate(able)}
    came = {str(each["me"]): each for each in ran.objects() if each.get("me") in called}
    reports = {number: came[number] for number in called if number in came}
    if not reports:
        remedy = "look at the jobs that take the room, and at the first server"
        yield Finding("task", "-", FAILED, ran.failure or "the first task told nothing", remedy)
        return
    for number, name in called.items():
        if number in reports:
            yield Finding("task", name, OK, "its image was pulled, and it ran")
        else:
            yield findings.missing(name, ran.reasons.get(name) or f"its task did not come to {called['0']}")
    yield from findings.network(called, reports)
    yield from findings.dns(called, reports)
    for place in places:
        yield from findings.storage(place, called, reports)


def _counted(check: str, able: Sequence[Node], ran: Ran) -> Iterator[Finding]:
    """Tell whether Spark's answer is right, and where it came from."""
    told = next(ran.objects(), {})
    if told.get("sum") != _ANSWER:
        cause = ran.failure or f"the answer is {told.get('sum')} and not {_ANSWER}"
        yield Finding(check, "-", FAILED, cause, "look at the log of a job of your own, and at the findings above")
        return
    everywhere = told.get("executors") == len(able)
    for node in able:
        if everywhere or node.name in ran.hosts:
            yield Finding(check, node.name, OK, "Spark's answer is right")
        else:
            cause = ran.reasons.get(node.name) or "Spark's answer is right, but no executor came up on this host"
            yield Finding(
                check, node.name, FAILED, cause, "see that the host has room for jobs, and reaches the others"
            )


@contextmanager
def _programs(*names: str) -> Iterator[tuple[Path, ...]]:
    """Yield the paths of programs of ours, wherever this package is installed."""
    folder = importlib.resources.files("cloudmesh.images").joinpath("proof")
    with ExitStack() as stack:
        yield tuple(stack.enter_context(importlib.resources.as_file(folder.joinpath(name))) for name in names)
