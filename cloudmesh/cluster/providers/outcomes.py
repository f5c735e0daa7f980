"""What an exit code means, in the words that both providers share."""

from __future__ import annotations

TIMED_OUT = 124
_KILLED, _TERMINATED = 137, 143


def explain_exit_code(exit_code: int | None, *, out_of_memory: bool = False) -> str:
    """Return why a process failed, in words; empty where its exit code does not tell."""
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
