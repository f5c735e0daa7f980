"""The time that counts is the cluster's: the operator's clock may be wrong by days."""

from __future__ import annotations

import time

import pytest

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.providers.cluster_time import ClusterClock, parse_date

DATE, SECONDS = "Sun, 29 Nov 2026 12:00:00 GMT", 1795953600.0


def test_the_operators_clock_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ClusterClock(lambda: parse_date(DATE))
    assert clock.now() == pytest.approx(SECONDS, abs=1)
    monkeypatch.setattr(time, "time", lambda: SECONDS + 2 * 86400)
    assert clock.now() == pytest.approx(SECONDS, abs=1)


def test_it_goes_on_and_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [SECONDS]
    clock = ClusterClock(answers.pop)
    clock.now()
    started = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: started + 3600)
    assert clock.now() == pytest.approx(SECONDS + 3600, abs=1)


@pytest.mark.parametrize("header", [None, "", "yesterday"])
def test_an_answer_without_a_time_is_no_time(header: str | None) -> None:
    with pytest.raises(ApiError, match="does not tell the time"):
        parse_date(header)
