"""A job of a cluster's test, run for a bounded time whatever becomes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import JobStatus
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.ssh import parallel

_DELIVERY_SECONDS = 900.0  # of an image that has to be built first
_JOB_SECONDS = 120.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 2.0


class Jobs(Protocol):
    """What the test does with the jobs of a cluster; `jobs.service.Jobs` does it."""

    def submit(self, job: JobSpec, *, job_id: str, output: Callable[[Chunk], None], hosts: Sequence[str]) -> JobStatus:
        """Run a job on hosts, give its output to `output`, and return how it ended."""

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""

    def stop(self, job_id: str) -> JobStatus:
        """End a job and all its tasks."""


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
                if isinstance(value := json.loads(line), dict):
                    yield value


def run_bounded(jobs: Jobs, job: JobSpec, hosts: Sequence[str], report: Report) -> JobRun:
    """Run a job on `hosts`, the engine's names of them. Nothing of it is left, as far as the engine answers."""
    job_id, run = names.new_job_id(job.name), JobRun()

    def take(chunk: Chunk) -> None:
        if chunk.stream == "stdout":
            run.output += chunk.data

    running = parallel.run_in_background(lambda: jobs.submit(job, job_id=job_id, output=take, hosts=hosts))
    if not _watch(running, jobs, job_id, run):
        run.failure = f"not done in {_JOB_SECONDS:.0f} s{_reasons(run)}"
        report.failed("job", f"{job_id} {run.failure}")
        _stop(jobs, job_id)
        return run
    try:
        status = running.result()
        run.hosts.update(status.hosts)
        run.failure = "" if status.exit_code == 0 else status.reason or f"the job {status.state}"
    except ClusterError as error:
        run.failure = str(error)
    return run


def _watch(running: Future[JobStatus], jobs: Jobs, job_id: str, run: JobRun) -> bool:
    """Note what the engine says of the job's tasks until it ends; return whether it did in time."""
    end = time.monotonic() + _DELIVERY_SECONDS
    accepted = False
    while not running.done() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        looking = parallel.run_in_background(lambda: jobs.job(job_id))
        with suppress(Exception):  # not accepted yet, or the engine is silent
            _note(looking.result(_STOP_SECONDS), run)
            if not accepted:
                accepted, end = True, time.monotonic() + _JOB_SECONDS
    return running.done()


def _note(status: JobStatus, run: JobRun) -> None:
    run.hosts.update(status.hosts)
    if status.reason:
        run.reasons[""] = status.reason
    for task in status.tasks:
        if task.reason:
            run.reasons[task.host] = task.reason


def _reasons(run: JobRun) -> str:
    return f": {'; '.join(sorted(set(run.reasons.values())))}" if run.reasons else ""


def _stop(jobs: Jobs, job_id: str) -> None:
    stopping = parallel.run_in_background(lambda: jobs.stop(job_id))
    with suppress(Exception):
        stopping.result(_STOP_SECONDS)
