"""docs/output.md names the fields that programs get, and no others."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cloudmesh.cluster.command import storage
from cloudmesh.cluster.command.console import formats
from cloudmesh.cluster.core.model import ClusterInfo, JobStatus, Node, Role, State, TaskStatus, Volume
from cloudmesh.cluster.health.check_results import CheckResult

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "output.md").read_text()
NODE = Node("one", "10.0.0.1", (Role.SERVER,), "ready")
TASK = TaskStatus("driver", "one", State.RUNNING)
JOB = JobStatus("pi-1", "pi", State.RUNNING, 1795892400.0, 2.5, digest="d", volumes=("data",), tasks=(TASK,))


def documented(title: str, number: int = 0) -> list[str]:
    """Return the fields in a table below a heading of the page."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    tables = re.split(r"\| field \| type \| meaning \|\n", section)[1:]
    return re.findall(r"^\| `(\w+)` \|", tables[number], re.MULTILINE)


@pytest.mark.parametrize(
    ("title", "number", "shown"),
    [
        ("info", 0, ClusterInfo("c", "1", "nomad", "", "", (NODE,))),
        ("info", 1, NODE),
        ("jobs", 0, formats.job_row(JOB, "json")),
        ("jobs", 1, TASK),
        ("storage list", 0, storage._row(Volume("data", "directory", {"path": "/srv"}))),
        ("test", 0, CheckResult("disk", "one", "ok")),
    ],
)
def test_the_page_names_the_fields_that_programs_get(title: str, number: int, shown: Any) -> None:
    assert documented(title, number) == list(json.loads(formats.render(shown, "json")))


def test_a_job_has_an_rfc_3339_time_seconds_and_no_internal_fields() -> None:
    row = json.loads(formats.render(formats.job_row(JOB, "json"), "json"))
    assert (row["submitted"], row["duration"]) == ("2026-11-28T19:00:00Z", 2.5)
    assert {field.name for field in fields(JobStatus)} - row.keys() == {"digest", "volumes"}
    assert formats.job_row(JOB, "table")["duration"] == "2 s"


def test_a_job_whose_submission_is_not_known_has_no_time() -> None:
    assert formats.job_row(JobStatus("a", "a", State.UNKNOWN), "yaml")["submitted"] is None


def test_an_empty_list_is_valid_json() -> None:
    assert formats.render([], "json") == "[]\n"
