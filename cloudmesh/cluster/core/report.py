"""Where long work tells how it gets on."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Where long work tells how it gets on; `console/progress.py` shows it, tests collect it."""

    def step(self, where: str, what: str) -> None:
        """`where` (a host, an image, "engine") has begun `what`; the step before, there, has ended well."""

    def done(self, where: str, what: str = "") -> None:
        """`where` has finished its last step."""

    def failed(self, where: str, why: str) -> None:
        """`where` will do no more."""

    def note(self, text: str) -> None:
        """Something that the user should know, in one line."""


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
