"""What both engines are asked in the same order: to take a job exactly once, and to clear what ended jobs have left."""

from __future__ import annotations

from contextlib import suppress

from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError
from cloudmesh.cluster.providers.base import Engine, Submission
from cloudmesh.cluster.spec.job import JobSpec


def submit_once(engine: Engine, submission: Submission[JobSpec]) -> bool:
    """Have the engine run a job, which it does once however often this is called with the same submission.

    Returns:
        Whether it was submitted now; False: the engine had it already.

    Raises:
        ClusterError: another job has its id; that job stays as it is.
        ApiError: the engine refused the job, or did not answer.
    """
    if _is_present(engine, submission):
        engine.resume(submission)
        return False
    try:
        engine.submit(submission)
    except ApiError:
        # The answer may have been lost after the engine took the job, or another operator was quicker.
        if not _is_present(engine, submission):
            raise
        engine.resume(submission)
    return True


def clear_ended(engine: Engine) -> None:
    """End what ended jobs have left, and jobs that can never begin; forget those whose time to live is over."""
    for leftover in engine.leftovers():
        with suppress(NotFoundError):  # the engine, or another operator, was quicker
            engine.stop(leftover.job_id, leftover.why_hopeless)
    engine.forget_expired()


def _is_present(engine: Engine, submission: Submission[JobSpec]) -> bool:
    """Return whether the engine has the job; ClusterError where it has another job of this id."""
    try:
        present = engine.job(submission.id)
    except NotFoundError:
        return False
    if present.digest == submission.digest:
        return True
    same_job = present.digest.partition("+")[0] == submission.digest.partition("+")[0]
    difference = "other values of its secrets" if same_job else "another content"
    raise ClusterError(f"job {submission.id} exists with {difference}: choose another --id")
