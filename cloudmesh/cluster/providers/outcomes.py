"""What became of a job or a task, in the sentences that both providers show to the user."""

from __future__ import annotations

from collections.abc import Iterable

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.base import Chunk

TIMED_OUT = 124
# A shell's exit code, and an init's, for a program that a signal has ended: this and the signal's number.
SIGNALLED = 128
# Linux' names of its signals, from number 1 on: those of the operator's system may differ.
_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)

STOPPED_ON_REQUEST = "stopped on request"


def explain_exit_code(exit_code: int | None, *, out_of_memory: bool = False) -> str:
    """Return why a process failed; empty where its exit code does not tell.

    Args:
        exit_code: of the process; None where it has none.
        out_of_memory: whether the kernel, as the engine tells, has ended a process of the task for want of memory.
    """
    if out_of_memory:
        return "out of memory: give it more"
    if exit_code == TIMED_OUT:
        return "timeout: it ran longer than timeoutSeconds"
    signals = dict(enumerate(_SIGNALS.split(), SIGNALLED + 1))
    if exit_code in signals:
        return f"killed by SIG{signals[exit_code]} (exit code {exit_code})"
    return f"exit code {exit_code}" if exit_code else ""


def host_lost(host: str) -> str:
    """Return the reason of a task whose host the engine no longer hears from."""
    return f"its host {host} was lost"


def host_silent(host: str) -> str:
    """Return the reason of a task that runs, as far as the engine knows, on a host that cannot be asked now."""
    return f"its host {host} does not answer"


def host_restarted(host: str) -> str:
    """Return the reason of a task that ended because its host was restarted."""
    return f"its host {host} was restarted" if host else "its host was restarted"


def missing_output(what: str) -> Chunk:
    """Return a line, among what a task wrote, that says that some of it cannot be told.

    Args:
        what: the task, and why.
    """
    return Chunk("stderr", f"cms: the output of {what}\n".encode())


def output_gap(task: str, size: int) -> Chunk:
    """Return the line that stands for what is not kept between the first and the last part of a task's output.

    Args:
        task: its name.
        size: how many bytes are missing.
    """
    return missing_output(f"{task} is larger than its logLimit: {size:,} bytes are missing here")


def waits_for_room(lacks: Iterable[str]) -> str:
    """Return the reason of a job that no host can take now.

    Args:
        lacks: what the hosts have too little of ("memory"), or the conditions that none of them meets. May be empty.
    """
    return f"waits for room: {', '.join(sorted(set(lacks))) or 'no host is eligible'}"


def image_not_pulled(image: str, cause: str) -> str:
    """Return the reason of a task whose image its host could not pull; `cause` may be empty."""
    return f"image {image} could not be pulled{f': {cause}' if cause else ''}"


def services_bound(job_ids: Iterable[str]) -> ApiError:
    """Return the error to raise where a host is to be emptied that services are bound to."""
    bound = ", ".join(sorted(set(job_ids)))
    return ApiError(f"services are bound to it, and have data there: {bound}: stop them first")


def no_such_job(job_id: str) -> NotFoundError:
    """Return the error to raise where the engine has no job of this id."""
    return NotFoundError(f"no job {job_id}: `cms cluster jobs -n NAME` lists those there are")
