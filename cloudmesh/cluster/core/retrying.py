"""How a request is repeated that may succeed a moment later: a server restarts, a resource is still being freed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def retry(
    request: Callable[[], T],
    is_temporary: Callable[[BaseException], bool],
    *,
    attempts: int = 0,
    seconds: float = 0.0,
    pause_seconds: float = 1.0,
    grows: bool = False,
) -> T:
    """Return what `request` returns, trying it again while its errors are temporary.

    Args:
        request: what is tried. Its last error is raised as it is, and an error that is not temporary at once.
        is_temporary: whether another attempt may help after this error.
        attempts: how often `request` is called, at most; 0: as often as there is time.
        seconds: no attempt begins after an error that came later than this, counted from the first attempt's beginning;
            0: only `attempts` counts.
        pause_seconds: how long to sleep between two attempts.
        grows: whether each pause is about twice the one before, with some chance in it, so that many clients that
            were refused together do not come back together.
    """
    import tenacity

    stops: list[tenacity.stop.stop_base] = []
    if attempts:
        stops.append(tenacity.stop_after_attempt(attempts))
    if seconds:
        stops.append(tenacity.stop_after_delay(seconds))
    growing = tenacity.wait_exponential(multiplier=pause_seconds) + tenacity.wait_random(0, pause_seconds)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_temporary),
        stop=tenacity.stop_any(*stops),
        wait=growing if grows else tenacity.wait_fixed(pause_seconds),
        reraise=True,
    )
    return retrying(request)
