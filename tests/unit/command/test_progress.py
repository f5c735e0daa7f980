"""Progress, in a pipe and on a terminal."""

from __future__ import annotations

import io
import re
import threading
from itertools import count

import pytest

from cloudmesh.cluster.command.console.progress import Progress


def plain() -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    ticks = count()
    return Progress(stream, terminal=False, clock=lambda: next(ticks) * 60.0), stream


def test_a_pipe_gets_one_plain_line_for_each_step() -> None:
    progress, stream = plain()
    with progress:
        progress.step("node-1", "installing packages")
        progress.done("node-1", "ready")
        progress.note("all is well")
    assert stream.getvalue() == "node-1: installing packages\nnode-1: ready (1m 00s)\nall is well\n"


def test_a_failure_says_where_and_why() -> None:
    progress, stream = plain()
    progress.failed("node-2", "disk full")
    assert stream.getvalue() == "node-2: failed: disk full (1m 00s)\n"


def test_a_terminal_shows_each_host_once_with_its_last_step() -> None:
    stream = io.StringIO()
    with Progress(stream, terminal=True) as progress:
        progress.step("node-1", "installing packages")
        progress.step("node-2", "waiting")
        progress.done("node-1", "joined")
        progress.failed("node-2", "no [space] left")
        progress.note("a [bracketed] note")
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue().rsplit("\x1b[2K", maxsplit=1)[-1])
    assert re.search(r"✓ node-1 joined +\d\.\d s", last)
    assert re.search(r"✗ node-2 no \[space\] left +\d\.\d s", last)
    assert "a [bracketed] note" in stream.getvalue()


def test_the_terminal_is_given_back_when_an_error_leaves_the_display() -> None:
    stream = io.StringIO()

    def work() -> None:
        with Progress(stream, terminal=True) as progress:
            progress.step("node-1", "working")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    hidden, shown_again = stream.getvalue().rfind("\x1b[?25l"), stream.getvalue().rfind("\x1b[?25h")
    assert shown_again > hidden >= 0


def test_what_a_host_says_cannot_steer_the_terminal() -> None:
    progress, stream = plain()
    progress.step("node-1", "\x1b[2Jcleared")
    assert "\x1b" not in stream.getvalue()


def test_lines_of_many_threads_stay_whole() -> None:
    progress, stream = plain()

    def work(name: str) -> None:
        for _ in range(50):
            progress.step(name, "x" * 50)

    threads = [threading.Thread(target=work, args=(f"h{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(re.fullmatch(r"h\d: x{50}", line) for line in stream.getvalue().splitlines())


def test_threads_that_report_on_a_terminal_never_wait_for_each_other_for_ever() -> None:
    stream = io.StringIO()
    with Progress(stream, terminal=True) as progress:

        def work(name: str) -> None:
            for _ in range(100):
                progress.step(name, "step")
                progress.note("note")
                with progress.suspended():
                    pass

        threads = [threading.Thread(target=work, args=(f"h{n}",), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert not any(thread.is_alive() for thread in threads)


def test_interrupting_does_not_wait_for_a_question_in_a_thread() -> None:
    progress, _ = plain()
    asked, answer = threading.Event(), threading.Event()

    def ask() -> None:
        with progress.suspended():
            asked.set()
            answer.wait(30)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    asked.wait(5)
    progress.stop()
    answer.set()
    thread.join(5)
    assert not thread.is_alive()
