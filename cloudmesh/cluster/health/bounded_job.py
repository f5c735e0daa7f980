"""A job of a cluster's test, run for a bounded time whatever becomes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import JobStatus
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.jobs.service import JobService
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.ssh import parallel

_DELIVERY_SECONDS = 900.0  # of an image that has to be built first
_JOB_SECONDS = 120.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 2.0


@dataclass
class JobRun:
    """What came of a job of the test.

    Attributes:
        output: what it printed.
        failure: why it did not succeed; empty if it did.
        hosts: where its tasks were.
        reasons: what the engine said of tasks that waited or failed, by host; of those on no host, by "".
    """

    output: bytes = b""
    failure: str = ""
    hosts: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    def objects(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects among the lines that it printed."""
        for line in self.output.splitlines():
            with suppress(ValueError):
                if isinstance(found := json.loads(line), dict):
                    yield found


def run_bounded(open_workload: Callable[[], JobService], job: JobSpec, hosts: Sequence[str], report: Report) -> JobRun:
    """Run a job on `hosts`, the engine's names of them. Nothing of it is left, as far as the engine answers."""
    job_id, ran, workload = names.new_job_id(job.name), JobRun(), open_workload()

    def take(chunk: Chunk) -> None:
        if chunk.stream == "stdout":
            ran.output += chunk.data

    running = parallel.run_in_background(lambda: workload.submit(job, job_id=job_id, output=take, hosts=hosts))
    if not _watch(running, workload, job_id, ran):
        ran.failure = f"not done in {_JOB_SECONDS:.0f} s{_reasons(ran)}"
        report.failed("job", f"{job_id} {ran.failure}")
        _stop(workload, job_id)
        return ran
    try:
        status = running.result()
        ran.hosts.update(status.hosts)
        ran.failure = "" if status.exit_code == 0 else status.reason or f"the job {status.state}"
    except ClusterError as error:
        ran.failure = str(error)
    return ran


def _watch(running: Future[JobStatus], workload: JobService, job_id: str, ran: JobRun) -> bool:
    """Note what the engine says of the job's tasks until it ends; return whether it did in time."""
    end = time.monotonic() + _DELIVERY_SECONDS
    accepted = False
    while not running.done() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        looking = parallel.run_in_background(lambda: workload.job(job_id))
        with suppress(Exception):  # not accepted yet, or the engine is silent
            _note(looking.result(_STOP_SECONDS), ran)
            if not accepted:
                accepted, end = True, time.monotonic() + _JOB_SECONDS
    return running.done()


def _note(status: JobStatus, ran: JobRun) -> None:
    ran.hosts.update(status.hosts)
    if status.reason:
        ran.reasons[""] = status.reason
    for task in status.tasks:
        if task.reason:
            ran.reasons[task.host] = task.reason


def _reasons(ran: JobRun) -> str:
    return f": {'; '.join(sorted(set(ran.reasons.values())))}" if ran.reasons else ""


def _stop(workload: JobService, job_id: str) -> None:
    stopping = parallel.run_in_background(lambda: workload.stop(job_id))
    with suppress(Exception):
        stopping.result(_STOP_SECONDS)
