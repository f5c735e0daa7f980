"""How both providers repeat a request to an API that is away for a moment, as while a server restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
)

T = TypeVar("T")


def retry_attempts(
    request: Callable[[], T],
    is_temporary: Callable[[BaseException], bool],
    *,
    attempts: int = 3,
    pause_seconds: float = 1.0,
) -> T:
    """Return what `request` returns, trying it a few times.

    Args:
        request: what is tried. Its last error is raised as it is, and an error that is not temporary at once.
        is_temporary: whether another attempt may help after this error.
        attempts: how often `request` is called, at most.
        pause_seconds: how long to sleep between two attempts.
    """
    retry = Retrying(
        retry=retry_if_exception(is_temporary),
        stop=stop_after_attempt(attempts),
        wait=wait_fixed(pause_seconds),
        reraise=True,
    )
    return retry(request)


def retry_for(
    request: Callable[[], T],
    error_type: type[Exception],
    *,
    seconds: float = 60.0,
    pause_seconds: float = 1.0,
) -> T:
    """Return what `request` returns, trying it until a time has passed.

    Args:
        request: what is tried. Its last error is raised as it is, and an error of another type at once.
        error_type: after errors of this type, or of a subclass, there is another attempt.
        seconds: no attempt begins after an error that came later than this, counted from the first attempt's beginning.
        pause_seconds: how long to sleep between two attempts.
    """
    retry = Retrying(
        retry=retry_if_exception_type(error_type),
        stop=stop_after_delay(seconds),
        wait=wait_fixed(pause_seconds),
        reraise=True,
    )
    return retry(request)
