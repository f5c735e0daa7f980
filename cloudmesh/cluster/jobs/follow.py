"""Jobs followed to their ends, by what the engine says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from cloudmesh.cluster.core.errors import ApiError, UnknownOutcomeError
from cloudmesh.cluster.core.model import JobStatus, State
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.providers.base import Chunk, Engine

OutputHandler = Callable[[Chunk], None]

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.5
_TIDY_SECONDS = 20.0


def wait_until_running(api: Engine, job_id: str, report: Report) -> JobStatus:
    """Tell what the job waits for until it runs; return how it is then."""
    told = None
    tidied = time.monotonic()
    while (status := api.job(job_id)).state is State.QUEUED:
        if status.reason != told:
            told = status.reason
            report.step("job", f"{job_id} {_describe(status)}")
        tidied = _expire_now_and_then(api, tidied)
        time.sleep(_POLL_SECONDS)
    report.done("job", f"{job_id} {status.state}")
    return status


def follow_to_end(api: Engine, job_id: str, output: OutputHandler, report: Report) -> JobStatus:
    """Give the job's output to `output` until it ends; nothing of it is left then.

    Raises:
        UnknownOutcomeError: the engine went away while the job ran.
    """
    wait_until_running(api, job_id, report)
    for chunk in api.logs(job_id, True):
        output(chunk)
    while not (status := _get_job_with_retry(api, job_id)).state.ended:
        time.sleep(_POLL_SECONDS)
    api.stop(job_id)
    return status


def wait_for_all(api: Engine, job_ids: Sequence[str], report: Report) -> tuple[JobStatus, ...]:
    """Tell how the jobs get on until all have ended; nothing of them is left then.

    Raises:
        UnknownOutcomeError: the engine went away while jobs ran.
    """
    told: dict[str, str] = {}
    finished: dict[str, JobStatus] = {}
    tidied = time.monotonic()
    while waiting := [job_id for job_id in job_ids if job_id not in finished]:
        for job_id in waiting:
            status = _get_job_with_retry(api, job_id)
            if status.state.ended:
                api.stop(job_id)
                finished[job_id] = status
                _tell_end(status, report)
            elif told.get(job_id) != _describe(status):
                told[job_id] = _describe(status)
                report.step(job_id, told[job_id])
        tidied = _expire_now_and_then(api, tidied)
        time.sleep(_POLL_SECONDS if len(finished) < len(job_ids) else 0)
    return tuple(finished[job_id] for job_id in job_ids)


def _expire_now_and_then(api: Engine, last: float) -> float:
    """Have what can never begin ended, now and then; return when that was done last."""
    if time.monotonic() < last + _TIDY_SECONDS:
        return last
    with suppress(ApiError):
        api.purge_expired()
    return time.monotonic()


def _tell_end(status: JobStatus, report: Report) -> None:
    if status.state is State.SUCCEEDED:
        report.done(status.id, str(status.state))
    else:
        report.failed(status.id, status.reason or str(status.state))


def _describe(status: JobStatus) -> str:
    return f"{status.state}{f': {status.reason}' if status.reason else ''}"


def _get_job_with_retry(api: Engine, job_id: str) -> JobStatus:
    """Return the job, though the engine be silent for a while."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return api.job(job_id)
        except ApiError as error:
            if time.monotonic() > deadline:
                raise UnknownOutcomeError(
                    f"job {job_id}: its outcome is not known, the engine is silent: {error}"
                ) from error
        time.sleep(_POLL_SECONDS)
