"""Time that passes only while something sleeps, for code that waits for minutes."""

from __future__ import annotations

import time

import pytest


class Clock:
    """Stands for `time.monotonic` and `time.sleep`.

    Attributes:
        now: seconds since the clock was made.
        pauses: for how long something slept, one after another.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture(name="clock")
def provide_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a test that asks for it."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return clock
