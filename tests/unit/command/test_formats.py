"""Results in every format."""

from __future__ import annotations

import csv
import io
import json

import pytest
import yaml

from cloudmesh.cluster.command.console import formats
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import ClusterInfo, JobStatus, Node, Role, State

NODE = Node("node-1", "10.0.0.1", (Role.SERVER, Role.WORKER), "ready", cores=2.0, memory_mb=1000)
CLUSTER = ClusterInfo("demo", "1f", "nomad", "http://127.0.0.1:4646", "10.0.0.1:5000", (NODE,), healthy=True)


def test_json_holds_everything_with_enums_as_strings() -> None:
    loaded = json.loads(formats.render([CLUSTER], "json"))
    assert loaded[0]["nodes"][0]["roles"] == ["server", "worker"]
    assert loaded[0]["healthy"] is True


def test_yaml_says_the_same_as_json() -> None:
    assert yaml.safe_load(formats.render([CLUSTER], "yaml")) == json.loads(formats.render([CLUSTER], "json"))


def test_one_thing_is_an_object_and_many_are_a_list() -> None:
    assert json.loads(formats.render(CLUSTER, "json"))["name"] == "demo"
    assert isinstance(json.loads(formats.render((CLUSTER,), "json")), list)


def test_nothing_is_an_empty_list_a_header_or_no_table() -> None:
    assert formats.render([], "json") == "[]\n"
    assert formats.render((), "yaml") == "[]\n"
    assert formats.render([], "csv", ("name", "api")) == "name,api\n"
    assert formats.render([], "table", ("name",)) == ""


def test_csv_is_read_back_whatever_is_in_a_cell() -> None:
    job = JobStatus("a-1", "a", State.FAILED, exit_code=1, reason='exit 1, "x"\nsecond line')
    row = next(csv.DictReader(io.StringIO(formats.render([job], "csv"))))
    assert row["reason"] == job.reason
    assert row["state"] == "failed"


def test_a_table_has_one_line_for_each_item_with_nested_items_counted() -> None:
    table = formats.render([CLUSTER], "table", ("name", "nodes", "healthy"))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line]
    assert cells == [["name", "nodes", "healthy"], ["demo", "1", "yes"]]


def test_a_cell_cannot_break_the_table_or_steer_the_terminal() -> None:
    table = formats.render([{"reason": "two\nlines \x1b[2J"}], "table")
    assert len([line for line in table.splitlines() if "|" in line]) == 2
    assert "\x1b" not in table


@pytest.mark.parametrize("name", ["xml", "", "table\n"])
def test_an_unknown_format_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="use one of table, json, yaml, csv"):
        formats.check(name)


def test_a_format_is_known_in_any_case() -> None:
    assert formats.check("JSON") == "json"
