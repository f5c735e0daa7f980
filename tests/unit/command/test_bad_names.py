"""Names that would mean something else in a path, a query or a shell are refused before any host is asked."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cms import run_in_process
from support.listener import listening

BAD = ("a/../../acl/tokens", "x?y", "$(id)", "two\nlines", "a" * 64, "a b", "-", "Ä", "")


@dataclass
class Counter:
    """A port whose connections are counted."""

    address: str = ""
    connections: int = 0

    def count(self, _: socket.socket) -> None:
        self.connections += 1


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    monkeypatch.setenv("HOME", str(tmp_path))
    counter = Counter()
    with listening(counter.count) as port:
        counter.address = f"127.0.0.1:{port}"
        yield counter


@pytest.mark.parametrize("name", BAD, ids=ascii)
@pytest.mark.parametrize("verb", ["create", "kill", "stop"])
def test_a_bad_cluster_name_is_refused_in_one_line_and_nothing_is_asked(
    verb: str, name: str, counter: Counter, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "create": (counter.address,),
        "kill": ("--yes", "--hosts", counter.address),
        "stop": ("--hosts", counter.address, "job"),
    }
    assert run_in_process(verb, f"--name={name}", *words[verb]) == 2
    assert_one_line(r"cluster name .* is not valid", capsys)
    assert counter.connections == 0


@pytest.mark.parametrize("name", [*BAD, "x" * 41], ids=ascii)
@pytest.mark.parametrize("verb", ["submit", "stop", "logs"])
def test_a_bad_job_name_is_refused_in_one_line_and_nothing_is_asked(
    verb: str, name: str, counter: Counter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "pi.py"
    job.write_text("print(3)\n")
    words = (f"--id={name}", str(job)) if verb == "submit" else (name,)
    assert run_in_process(verb, "-n", "t-fname", "--hosts", counter.address, *words) == 2
    assert_one_line(r"job id .* is not valid", capsys)
    assert counter.connections == 0


def test_the_counter_counts(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_in_process("info", "-n", "t-fname", "--hosts", counter.address) == 1
    assert f"\nERROR: {counter.address}: " in f"\n{capsys.readouterr().err}"
    assert counter.connections > 0


def assert_one_line(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = capsys.readouterr()
    assert re.fullmatch(f"ERROR: {pattern}.*\n", printed.err)
    assert printed.out == ""
