"""The page that says which faults were injected, on which engine, with which outcome: docs/faults.md.

A run writes the rows of the tests that it ran; those of others stay. So the whole matrix can be run in parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HEADER = """# Faults

Each row is a promise that a test of `tests/faults` keeps: it injects the fault for real, on real hosts that it made,
and looks at what comes of it. A cell has the outcome and the seconds of its last run, without the making of hosts and
clusters; "–": the promise is of the other engine alone, or of no engine. `make test-faults` writes this page, and
`make test-faults TESTS=…` the rows of some tests. Tests that never ran have no row.

| fault | promise | nomad | kubernetes |
|---|---|---|---|
"""
_PROVIDERS = ("nomad", "kubernetes")
_NONE, _NOT_RUN = "–", "not run"


class Result(NamedTuple):
    """How a test of a fault ended.

    Attributes:
        node_id: pytest's name of it.
        outcome: "passed", "failed" or "skipped".
        seconds: that it took.
    """

    node_id: str
    outcome: str
    seconds: float


def write(path: Path, results: Iterable[Result]) -> None:
    """Write the results of a run into the page."""
    rows = _read(path)
    for result in results:
        fault, promise, provider = _describe(result.node_id)
        cell = f"{result.outcome}, {result.seconds:.0f} s"
        if provider:
            rows.setdefault((fault, promise), dict.fromkeys(_PROVIDERS, _NOT_RUN))[provider] = cell
        else:
            rows[fault, promise] = {"nomad": cell, "kubernetes": _NONE}
    lines = (
        f"| {fault} | {promise} | {cells['nomad']} | {cells['kubernetes']} |\n"
        for (fault, promise), cells in sorted(rows.items())
    )
    path.write_text(HEADER + "".join(lines))


def _read(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    text = path.read_text() if path.exists() else ""
    table = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", text.removeprefix(HEADER), re.MULTILINE)
    return {
        (fault, promise): dict(zip(_PROVIDERS, cells, strict=True))
        for fault, promise, *cells in table
        if fault != "fault"
    }


def _describe(node_id: str) -> tuple[str, str, str]:
    """Return fault, promise and provider of a test; the provider is empty where the test is of no provider."""
    file, _, test = node_id.partition("::")
    name, _, case = test.removeprefix("test_").removesuffix("]").partition("[")
    provider = next((provider for provider in _PROVIDERS if provider in case), "")
    words = re.sub(f"^{provider}-?|-{provider}$", "", case) if provider else case
    promise = f"{name.replace('_', ' ')} ({words})" if words else name.replace("_", " ")
    return Path(file).stem.removeprefix("test_").replace("_", " "), promise, provider
