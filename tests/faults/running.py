"""`cms cluster` as a user runs it, watched line by line, so that a fault can be put at a chosen moment."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from support.cms import CMS, Outcome, environment

# A shell that runs the tests in the background lets them ignore Ctrl-C, and what they start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Ended(Outcome):
    """How a command ended, and when.

    Attributes:
        seconds: how long it took.
    """

    seconds: float

    @property
    def errors(self) -> list[str]:
        """Its error lines, without the word ERROR."""
        return [line.removeprefix("ERROR: ") for line in self.stderr.splitlines() if line.startswith("ERROR: ")]

    def failed(self, status: int = 1, *causes: str) -> list[str]:
        """Return the error lines; AssertionError unless it ended with `status` and each cause (a pattern) has one."""
        assert self.status == status, self
        assert "Traceback" not in self.stderr + self.stdout, self
        assert "unexpected" not in self.stderr, self
        for cause in causes:
            assert any(re.search(cause, line) for line in self.errors), f"no line tells of {cause!r}: {self}"
        return self.errors

    def __str__(self) -> str:
        return f"exit {self.status} after {self.seconds:.1f} s\n{self.stdout}{self.stderr}"


class Running:
    """A command that runs.

    Args:
        home: the operator's home directory.
        words: after `cms cluster`.
        env: further variables.
    """

    def __init__(self, home: Path, words: tuple[str, ...], env: Mapping[str, str] | None = None) -> None:
        self.words = words
        self._began = self._ended = time.monotonic()
        self.process = subprocess.Popen(
            [str(CMS), "cluster", *words],
            env={**environment(home), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._readers = [
            threading.Thread(target=self._read, args=(name, getattr(self.process, name)), daemon=True)
            for name in self._said
        ]
        for reader in self._readers:
            reader.start()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        return self.process.poll() is not None

    @property
    def said(self) -> str:
        """What it wrote on stderr so far."""
        return "".join(self._said["stderr"])

    def until(self, *patterns: str, seconds: float = 120) -> None:
        """Wait until it has said all of the patterns; AssertionError where it ends or the time is over without them."""
        deadline = time.monotonic() + seconds
        while missing := [pattern for pattern in patterns if not re.search(pattern, self.said)]:
            going = self._readers[1].is_alive() and time.monotonic() < deadline
            assert going or not missing, f"{self.words}: {missing} never came:\n{self.said}"
            time.sleep(0.02)

    def end(self, seconds: float) -> Ended:
        """Return how it ends; AssertionError where it takes longer than `seconds` from now."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.words}: not ended after {seconds} s:\n{self.said}") from None
        for reader in self._readers:
            reader.join(10)
        said = {name: "".join(lines) for name, lines in self._said.items()}
        return Ended(status, said["stdout"], said["stderr"], self._ended - self._began)

    def kill(self) -> None:
        """End it as `kill -9` does: it can tidy up nothing."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def _read(self, name: str, stream: IO[str]) -> None:
        for line in stream:
            self._said[name].append(line)
        self._ended = time.monotonic()


@contextmanager
def started(home: Path, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Yield `cms cluster WORDS`, running; it is killed if it outlives the block."""
    running = Running(home, words, env)
    try:
        yield running
    finally:
        running.kill()


def cms(home: Path, *words: str, seconds: float = 180, env: Mapping[str, str] | None = None) -> Ended:
    """Run `cms cluster WORDS` to its end, which must come within `seconds`."""
    with started(home, *words, env=env) as running:
        return running.end(seconds)
