"""The first example of docs/python.md: from nothing to Spark's answer, and gone again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.hosts import prepare_local_cluster
from support.python_page import run_example

pytestmark = pytest.mark.cluster


def test_the_first_example_of_the_python_page_runs_and_leaves_no_host(tmp_path: Path) -> None:
    with prepare_local_cluster("py", 2, tmp_path) as cluster:
        printed = run_example("Cluster.create", {'"demo"': f'"{cluster.name}"'}, tmp_path, seconds=300)
        assert cluster.list_hosts() == []
    assert printed.startswith("succeeded 0\n")
    assert re.search(r"^Pi is roughly 3\.1\d+", printed, re.MULTILINE)
