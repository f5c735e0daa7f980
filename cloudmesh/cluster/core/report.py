"""The interface through which long work reports its progress."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Receives the progress of long work; `command/console/progress.py` shows it on the terminal, tests collect it."""

    def step(self, where: str, what: str) -> None:
        """`where` (a host, an image, "engine") begins step `what`; its previous step, if any, has succeeded."""

    def done(self, where: str, what: str = "") -> None:
        """`where` has finished its last step; `what` is shown in place of "done"."""

    def failed(self, where: str, why: str) -> None:
        """`where` has failed because of `why`, and begins no further step."""

    def note(self, text: str) -> None:
        """Show `text`, one line that the user should know."""


class Silence:
    """A report that tells nobody."""

    def step(self, where: str, what: str) -> None:
        """Do nothing."""

    def done(self, where: str, what: str = "") -> None:
        """Do nothing."""

    def failed(self, where: str, why: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
