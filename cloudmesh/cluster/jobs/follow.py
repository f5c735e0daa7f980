"""Follows jobs until they run or have ended, by polling the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from cloudmesh.cluster.core.errors import ApiError, UnknownOutcomeError
from cloudmesh.cluster.core.model import JobStatus, State
from cloudmesh.cluster.core.names import list_short
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.jobs.engine_jobs import clear_ended
from cloudmesh.cluster.providers.base import Chunk, Engine

OutputHandler = Callable[[Chunk], None]

_SILENCE_SECONDS = 60.0  # for so long the engine may not answer before a job's outcome counts as unknown
_POLL_SECONDS = 0.5
_CLEAR_SECONDS = 20.0
_MAX_SHOWN = 10


@contextmanager
def unknown_where_silent(cluster: str, *job_ids: str) -> Iterator[None]:
    """Tell that outcomes are not known where the engine fails within a `with` block: the jobs themselves may go on.

    Args:
        cluster: its name.
        job_ids: of jobs that the engine has taken.

    Raises:
        UnknownOutcomeError: in place of any other ApiError.
    """
    try:
        yield
    except UnknownOutcomeError:
        raise
    except ApiError as error:
        one = f" {job_ids[0]}" if len(job_ids) == 1 else ""
        raise UnknownOutcomeError(
            f"job {list_short(job_ids, _MAX_SHOWN)}: the outcome is not known: {error}; "
            f"ask again: `cms cluster jobs -n {cluster}{one}`"
        ) from error


def wait_until_running(engine: Engine, job_id: str, report: Report) -> JobStatus:
    """Report what the job waits for until it is no longer queued; return its status then.

    Raises:
        ApiError: the engine did not answer for a minute.
    """
    reported = None
    cleared = time.monotonic()
    while (status := _get_job_with_retry(engine, job_id)).state is State.QUEUED:
        if status.reason != reported:
            reported = status.reason
            report.step("job", f"{job_id} {_describe(status)}")
        cleared = _clear_now_and_then(engine, cleared)
        time.sleep(_POLL_SECONDS)
    report.done("job", f"{job_id} {status.state}")
    return status


def follow_to_end(engine: Engine, job_id: str, output: OutputHandler, report: Report) -> JobStatus:
    """Pass the job's output to `output` until the job has ended, then stop whatever is left of it.

    Raises:
        ApiError: the engine did not answer for a minute while the job ran.
    """
    wait_until_running(engine, job_id, report)
    for chunk in engine.logs(job_id, True):
        output(chunk)
    while not (status := _get_job_with_retry(engine, job_id)).state.ended:
        time.sleep(_POLL_SECONDS)
    _stop_what_is_left(engine, job_id)
    return status


def wait_for_all(engine: Engine, job_ids: Sequence[str], report: Report) -> tuple[JobStatus, ...]:
    """Report the jobs' states until all have ended; whatever is left of a job at its end is stopped.

    Returns:
        The jobs' final states, in the order of `job_ids`.

    Raises:
        ApiError: the engine did not answer for a minute while jobs ran.
    """
    reported: dict[str, str] = {}
    finished: dict[str, JobStatus] = {}
    cleared = time.monotonic()
    while waiting := [job_id for job_id in job_ids if job_id not in finished]:
        for job_id in waiting:
            status = _get_job_with_retry(engine, job_id)
            if status.state.ended:
                _stop_what_is_left(engine, job_id)
                finished[job_id] = status
                _report_end(status, report)
            elif reported.get(job_id) != _describe(status):
                reported[job_id] = _describe(status)
                report.step(job_id, reported[job_id])
        cleared = _clear_now_and_then(engine, cleared)
        time.sleep(_POLL_SECONDS if len(finished) < len(job_ids) else 0)
    return tuple(finished[job_id] for job_id in job_ids)


def _clear_now_and_then(engine: Engine, last: float) -> float:
    """End jobs that can never begin, unless that was done recently.

    Returns:
        The time of the last clearance by the monotonic clock: now, or `last`.
    """
    if time.monotonic() < last + _CLEAR_SECONDS:
        return last
    with suppress(ApiError):
        clear_ended(engine)
    return time.monotonic()


def _report_end(status: JobStatus, report: Report) -> None:
    if status.state is State.SUCCEEDED:
        report.done(status.id, str(status.state))
    else:
        report.failed(status.id, status.reason or str(status.state))


def _describe(status: JobStatus) -> str:
    return f"{status.state}{f': {status.reason}' if status.reason else ''}"


def _stop_what_is_left(engine: Engine, job_id: str) -> None:
    """Stop what is left of a job that has ended: its outcome does not depend on that, and the next command does it."""
    with suppress(ApiError):
        engine.stop(job_id)


def _get_job_with_retry(engine: Engine, job_id: str) -> JobStatus:
    """Return the job's status, also where the engine does not answer for a while; ApiError: it did not for a minute."""
    return retry(
        lambda: engine.job(job_id),
        lambda error: isinstance(error, ApiError),
        seconds=_SILENCE_SECONDS,
        pause_seconds=_POLL_SECONDS,
    )
