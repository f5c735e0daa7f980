"""The lock is taken by real shells, on a file of the test's own."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "cloudmesh/images/host/lock.sh"
Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lock is root's")


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Start]:
    """Starts a session that asks for the lock; all are ended with the test."""
    sessions = []

    def start(holder: str, silence: int = 60) -> "subprocess.Popen[str]":
        script = SCRIPT.read_text()
        for old, new in (("/run/cloudmesh", f"{tmp_path}/cloudmesh"), ("silence=60", f"silence={silence}")):
            assert old in script
            script = script.replace(old, new)
        folder = tmp_path / f"session-{len(sessions)}"
        folder.mkdir()
        (folder / "holder").write_text(f"{holder}\n")
        session = subprocess.Popen(
            ["sh", "-c", script], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        sessions.append(session)
        return session

    yield start
    for session in sessions:
        if not session.stdin.closed:
            session.stdin.close()
        session.wait(10)
        session.stdout.close()


def _answer(session: "subprocess.Popen[str]") -> str:
    assert session.stdout is not None
    return session.stdout.readline().strip()


def _end(session: "subprocess.Popen[str]") -> None:
    assert session.stdin is not None
    session.stdin.close()
    assert session.wait(5) == 0


def test_the_second_is_told_who_holds_the_lock_and_since_when(start: Start) -> None:
    assert _answer(start("ann@laptop for cluster demo")) == "::fact held yes"
    second = start("bob@desk")
    answer = _answer(second)
    assert answer.startswith("::fail locked by ann@laptop for cluster demo since 20")
    assert answer.endswith(" UTC")
    assert second.wait(5) == 1


def test_the_one_refused_does_not_disturb_the_holder(start: Start) -> None:
    first = start("ann")
    _answer(first)
    assert _answer(start("bob")).startswith("::fail")
    assert first.poll() is None
    assert _answer(start("eve")).startswith("::fail locked by ann since")


def test_the_lock_ends_with_the_session_and_leaves_no_file(start: Start, tmp_path: Path) -> None:
    first = start("ann")
    _answer(first)
    assert list(tmp_path.glob("cloudmesh*"))
    _end(first)
    assert not list(tmp_path.glob("cloudmesh*"))
    second = start("bob")
    assert _answer(second) == "::fact held yes"


def test_a_killed_holder_locks_nobody_out_and_its_file_goes_with_the_next(start: Start, tmp_path: Path) -> None:
    first = start("ann")
    _answer(first)
    first.kill()
    second = start("bob")
    assert _answer(second) == "::fact held yes"
    _end(second)
    assert not list(tmp_path.glob("cloudmesh*"))


def test_a_session_without_a_sign_of_life_loses_the_lock(start: Start) -> None:
    first = start("ann", silence=1)
    assert _answer(first) == "::fact held yes"
    assert first.wait(5) == 0


def test_signs_of_life_keep_the_lock(start: Start) -> None:
    first = start("ann", silence=1)
    _answer(first)
    assert first.stdin is not None
    for _ in range(5):
        time.sleep(0.4)
        first.stdin.write(".")
        first.stdin.flush()
    assert first.poll() is None


def test_of_many_at_once_just_one_holds_the_lock(start: Start) -> None:
    answers = [_answer(session) for session in [start(f"operator-{n}") for n in range(8)]]
    assert sorted(answer.split()[0] for answer in answers) == ["::fact"] + ["::fail"] * 7


def test_who_waited_on_the_file_that_was_removed_holds_the_lock_that_others_find(start: Start) -> None:
    first = start("ann")
    _answer(first)
    waiting = start("bob")
    time.sleep(0.3)
    _end(first)
    assert _answer(waiting) == "::fact held yes"
    assert _answer(start("eve")).startswith("::fail locked by bob since")
