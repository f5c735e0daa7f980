"""What is repeated, how often, how long, and what of the errors the caller gets to see."""

from __future__ import annotations

import pytest
from support.clock import Clock, provide_clock

from cloudmesh.cluster.core.retrying import retry

__all__ = ["provide_clock"]


class Failing:
    """A request that fails `times` times, with errors that are numbered, and then answers."""

    def __init__(self, times: int, kind: type[Exception] = OSError) -> None:
        self.times, self.kind, self.calls = times, kind, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.kind(f"failure {self.calls}")
        return "answer"


def is_os_error(error: BaseException) -> bool:
    return isinstance(error, OSError)


def test_a_request_is_repeated_until_it_answers(clock: Clock) -> None:
    assert retry(Failing(2), is_os_error, attempts=3, pause_seconds=0.5) == "answer"
    assert clock.pauses == [0.5, 0.5]


def test_after_the_last_attempt_its_error_is_raised_as_it_is(clock: Clock) -> None:
    request = Failing(9)
    with pytest.raises(OSError, match="failure 3"):
        retry(request, is_os_error, attempts=3)
    assert request.calls == 3


def test_when_the_time_is_over_no_attempt_begins(clock: Clock) -> None:
    request = Failing(99)
    with pytest.raises(OSError, match="failure 6"):
        retry(request, is_os_error, seconds=5, pause_seconds=1)
    assert clock.now == 5


def test_an_error_that_time_does_not_heal_is_raised_at_once(clock: Clock) -> None:
    with pytest.raises(ValueError, match="failure 1"):
        retry(Failing(1, ValueError), is_os_error, attempts=3)
    assert clock.pauses == []


def test_growing_pauses_double_and_differ(clock: Clock) -> None:
    for _ in range(20):
        retry(Failing(3), is_os_error, attempts=4, pause_seconds=0.2, grows=True)
    first, second, third = clock.pauses[0::3], clock.pauses[1::3], clock.pauses[2::3]
    assert all(0.2 <= pause <= 0.4 for pause in first)
    assert all(0.4 <= pause <= 0.6 for pause in second)
    assert all(0.8 <= pause <= 1.0 for pause in third)
    assert len(set(first)) > 1
