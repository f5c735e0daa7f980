"""`cms cluster` as a user runs it: a process of its own, on pipes or on a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmesh.cluster.binaries import cache
from support.hosts import USER

CMS = Path(sys.executable).with_name("cms")
TIMEOUT = 300
# What would lead to hosts and keys that are not the test's, or have each command compile the plugin anew.
_FOREIGN = (
    "CLOUDMESH_CONFIG_DIR",
    "CLOUDMESH_CLUSTER_HOSTS",
    "CLOUDMESH_CLUSTER_DEBUG",
    "SSH_AUTH_SOCK",
    "PYTHONDONTWRITEBYTECODE",
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended; on a terminal, `stderr` is all that was shown."""

    status: int
    stdout: str
    stderr: str

    def ok(self) -> Outcome:
        """Return this; AssertionError where the command failed."""
        assert self.status == 0, f"exit {self.status}\n{self.stderr}{self.stdout}"
        return self

    def json(self) -> Any:
        """Return the result of a command that ended well."""
        return json.loads(self.ok().stdout)


def environment(home: Path) -> dict[str, str]:
    """Return the environment of somebody with a home directory, in which nothing leads elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    # the engine is fetched or built once for all
    return {**kept, "HOME": str(home), "CLOUDMESH_CLUSTER_CACHE": str(cache.cache_directory())}


@dataclass(frozen=True)
class Operator:
    """Somebody with a home directory and a key.

    Attributes:
        home: empty at first; whatever is kept of a cluster is kept there.
        key: private key file, for hosts started by hand; None: for local hosts, which need none.
        patience: seconds that a command may take.
        trusting: whether unknown host keys are accepted.
    """

    home: Path
    key: Path | None = None
    patience: float = TIMEOUT
    trusting: bool = True

    def cms(self, verb: str, *words: str) -> Outcome:
        """Run `cms cluster VERB WORDS` as `ops` with the key."""
        with self.started(verb, *words) as process:
            out, err = process.communicate(timeout=self.patience)
        return Outcome(process.returncode, out, err)

    @contextmanager
    def started(self, verb: str, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Yield the running command; it is killed if it outlives the block."""
        with subprocess.Popen(
            self._command(verb, words),
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def on_terminal(self, answer: tuple[str, str], verb: str, *words: str) -> Outcome:
        """Run the command on a terminal of its own.

        Args:
            answer: what to type, without the line's end, whenever the second text is asked.
            verb: of the command.
            words: its arguments.
        """
        child, terminal = pty.fork()
        if child == 0:
            os.execve(CMS, self._command(verb, words), environment(self.home))  # noqa: S606
        shown, answered, end = "", 0, time.monotonic() + TIMEOUT
        try:
            while time.monotonic() < end and (text := _read(terminal, end)):
                shown += text
                while shown.count(answer[1]) > answered:
                    os.write(terminal, f"{answer[0]}\n".encode())
                    answered += 1
            return Outcome(_ended(child, end), "", shown)
        finally:
            os.close(terminal)

    def _command(self, verb: str, words: tuple[str, ...]) -> list[str]:
        options = []
        if self.key and verb not in ("image", "engines"):
            options = ["--user", USER, "--key", str(self.key)] + ["--accept-new-hostkeys"] * self.trusting
        return [str(CMS), "cluster", verb, *words, *options]


def _read(terminal: int, end: float) -> str:
    """Return what is shown next; nothing once the terminal is closed or the time is over."""
    if not select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
        return ""
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # how Linux says that nobody has the terminal open any more
        return ""


def _ended(child: int, end: float) -> int:
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the command did not end")
