"""Sweeps: which jobs they are, how they are called, and what is told of them."""

from __future__ import annotations

import pytest

from cloudmesh.cluster.command import submit
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import JobStatus, State
from cloudmesh.cluster.spec.sweep import combinations


def test_every_combination_is_a_job_and_what_has_one_value_keeps_it() -> None:
    names, jobs = combinations({"a": "1,2", "text": "x y", "b": "u, v"})
    assert names == ("a", "b")
    assert jobs == [{"a": a, "text": "x y", "b": b} for a in ("1", "2") for b in ("u", "v")]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "--sweep needs a parameter with several values"),
        ({"a": "1"}, "--sweep needs a parameter with several values"),
        ({"a": "1,,2"}, "--param=a: there is an empty value between its commas"),
        ({"a": "1,"}, "--param=a: there is an empty value"),
        ({"a": "1," * 50 + "1", "b": "1,2"}, "--sweep makes 102 jobs of these parameters; 100 are the limit"),
        (dict.fromkeys("abcdefgh", "1," * 999 + "1"), "--sweep makes 1000000000000000000000000 jobs"),
    ],
)
def test_what_is_no_sweep_is_refused(params: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        combinations(params)
    assert str(caught.value).startswith(said)


def test_the_jobs_of_a_sweep_are_numbered_where_it_has_an_id() -> None:
    assert submit.sweep_ids(["pi", "pi"], "x") == ["x-1", "x-2"]
    first, second = submit.sweep_ids(["pi", "pi"], "")
    assert first != second
    assert first.startswith("pi-")
    with pytest.raises(UsageError, match="job id"):
        submit.sweep_ids(["pi"], "x" * 40)


def test_a_row_has_the_swept_parameters_also_where_one_is_called_as_a_column() -> None:
    status = JobStatus("x-1", "pi", State.FAILED, duration=2.5, exit_code=3, reason="exit code 3")
    assert submit.rows([status], [{"slices": "4", "state": "on"}]) == [
        {
            "id": "x-1",
            "slices": "4",
            "params.state": "on",
            "state": "failed",
            "duration": 2.5,
            "exit_code": 3,
            "reason": "exit code 3",
        }
    ]
