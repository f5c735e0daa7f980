"""What became of a job or a task, in the sentences that both providers show to the user."""

from __future__ import annotations

from collections.abc import Iterable

from cloudmesh.cluster.core.errors import NotFoundError

TIMED_OUT = 124
_KILLED, _TERMINATED = 137, 143

STOPPED_ON_REQUEST = "stopped on request"


def explain_exit_code(exit_code: int | None, *, out_of_memory: bool = False) -> str:
    """Return why a process failed; empty where its exit code does not tell."""
    if out_of_memory:
        return "out of memory: give it more"
    if exit_code == TIMED_OUT:
        return "timeout: it ran longer than timeoutSeconds"
    if exit_code == _KILLED:
        # Not every engine always hears from the kernel, before the process is gone, that memory was the cause.
        return f"killed (exit code {_KILLED}): most likely out of memory"
    if exit_code == _TERMINATED:
        return f"killed (exit code {exit_code})"
    return f"exit code {exit_code}" if exit_code else ""


def host_lost(host: str) -> str:
    """Return the reason of a task whose host the engine no longer hears from."""
    return f"its host {host} was lost"


def waits_for_room(lacks: Iterable[str]) -> str:
    """Return the reason of a job that no host can take now.

    Args:
        lacks: what the hosts have too little of ("memory"), or the conditions that none of them meets. May be empty.
    """
    return f"waits for room: {', '.join(sorted(set(lacks))) or 'no host is eligible'}"


def image_not_pulled(image: str, cause: str) -> str:
    """Return the reason of a task whose image its host could not pull; `cause` may be empty."""
    return f"image {image} could not be pulled{f': {cause}' if cause else ''}"


def no_such_job(job_id: str) -> NotFoundError:
    """Return the error to raise where the engine has no job of this id."""
    return NotFoundError(f"no job {job_id}: `cms cluster jobs -n NAME` lists those there are")
