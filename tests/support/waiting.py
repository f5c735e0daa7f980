"""The one loop in which tests wait for something that takes its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    seconds: float,
    pause: float | None = None,
    *,
    satisfies: Callable[[T], object] = bool,
) -> T:
    """Call `condition` until its result is true or the time is over, and return its last result.

    Nothing is raised when the time is over: the caller asserts the result, with a message of its choice. Where there is
    nothing to wait for any more, `condition` may raise AssertionError.

    Args:
        condition: is called at least once, and once more after the last pause.
        seconds: after which it is not called again.
        pause: seconds between two calls; None: twice as long as the call took, and half a second at least. That is for
            conditions that run `cms`, since what is waited for needs the processors that the call takes.
        satisfies: whether a result ends the waiting.
    """
    end = time.monotonic() + seconds
    while True:
        called = time.monotonic()
        result = condition()
        answered = time.monotonic()
        if satisfies(result) or answered >= end:
            return result
        time.sleep(max(0.5, 2 * (answered - called)) if pause is None else pause)
