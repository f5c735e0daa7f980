"""Questions to the user: on a terminal only, beneath the progress display."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cloudmesh.cluster.command.console.text import printable

if TYPE_CHECKING:
    from cloudmesh.cluster.command.console.progress import Progress


def can_ask() -> bool:
    """Whether somebody is there to answer: stdin and stderr are terminals."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def ask_yes_or_no(progress: Progress, question: str) -> bool:
    """Ask a question that is answered by yes or no; anything but a yes is a no."""
    with progress.suspended() as stream:
        stream.write(f"{printable(question)} [y/N] ")
        stream.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def ask_password(progress: Progress, prompt: str) -> str:
    """Ask for a password, which is not shown; empty where the answer is the end of the input."""
    import getpass

    with progress.suspended() as stream:
        try:
            return getpass.getpass(f"{printable(prompt)}: ", stream)
        except EOFError:
            return ""
