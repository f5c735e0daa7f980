"""The documents are right: examples run, pictures and pages are those of the code."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from support.python_page import EXAMPLES

import cloudmesh.cluster

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_python_page_compile(example: str) -> None:
    compile(example, "docs/python.md", "exec")


def test_a_bad_name_is_refused_as_the_python_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [example for example in EXAMPLES if "Not A Name" in example]
    exec(example, {})  # noqa: S102
    assert capsys.readouterr().out.startswith("2 cluster name 'Not A Name' is not valid")


def test_what_the_python_page_names_exists() -> None:
    text = (ROOT / "docs" / "python.md").read_text()
    for name in re.findall(r"`Cluster\.(\w+)\(", text):
        assert callable(getattr(cloudmesh.cluster.Cluster, name))
    sections = {"Cluster": cloudmesh.cluster.Cluster, "Job": cloudmesh.cluster.Job}
    for title, kind in sections.items():
        table = text.split(f"## {title}\n")[1].split("\n## ")[0]
        for name in re.findall(r"`(\w+)\(", table):
            assert callable(getattr(kind, name)), f"{title}.{name}"
    for name in re.findall(r"`(\w+Error)`", text):
        assert name in cloudmesh.cluster.__all__


def test_the_picture_of_the_rooms_is_that_of_the_imports() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "rooms.py"))
    uses = drawn["rooms"]()
    assert (ROOT / "docs" / "rooms.svg").read_text() == drawn["draw"](uses, drawn["floors"](uses))
    page = (ROOT / "docs" / "architecture.md").read_text()
    for room in uses:
        assert f"| `{room}/`" in page or f"| `{room}.py`" in page, room


def test_the_house_has_no_arrow_back_up_and_not_too_many_rooms() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "rooms.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_variable_has_a_name_that_says_nothing() -> None:
    named: list[str] = []
    for folder in ("cloudmesh", "tests", "docs", "tools", "bench", "examples"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                name = getattr(node, "id", None) or getattr(node, "arg", None)
                if name in ("its", "each", "found", "kept"):
                    named.append(f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} {name}")
    assert named == []
