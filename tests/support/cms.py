"""`cms` as a user runs it: a process with pipes or on a terminal, watched line by line while it runs."""

from __future__ import annotations

import json
import operator
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cloudmesh.cluster.command.cluster import ClusterCommand
from cloudmesh.cluster.command.console import docopt_usage, exit_codes
from cloudmesh.cluster.core.user_cache import cache_directory
from support import openssh_home
from support.waiting import wait_until

CMS = Path(sys.executable).with_name("cms")
# The same without the script `cms`, which need not be installed: PYTHONPATH tells which checkout's plugin it runs.
CMS_OF_CHECKOUT = (sys.executable, "-c", "from cloudmesh.shell.shell import main; main()")
USER = "ops"  # as whom operators log in to hosts that were started by hand
TIMEOUT = 300
# What would lead to hosts and keys that are not the test's, or have each command compile the plugin anew.
_FOREIGN = (
    "CLOUDMESH_CONFIG_DIR",
    "CLOUDMESH_CLUSTER_HOSTS",
    "CLOUDMESH_CLUSTER_DEBUG",
    "SSH_AUTH_SOCK",
    "PYTHONDONTWRITEBYTECODE",
)

# A shell that runs the tests in the background lets them ignore Ctrl-C, and what they start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: the exit status.
        stdout: all of it; empty for a command on a terminal.
        stderr: all of it; for a command on a terminal, all that was shown there.
        seconds: how long the command took.
    """

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """The error lines, without the word ERROR."""
        return [line.removeprefix("ERROR: ") for line in self.stderr.splitlines() if line.startswith("ERROR: ")]

    def ok(self) -> Outcome:
        """Return this outcome; AssertionError: the command failed."""
        assert self.status == 0, f"exit {self.status}\n{self.stderr}{self.stdout}"
        return self

    def json(self) -> Any:
        """Return the result that the command printed as JSON; AssertionError: the command failed."""
        return json.loads(self.ok().stdout)

    def expect_failure(self, status: int = 1, *causes: str) -> list[str]:
        """Return the error lines of a command that failed as it should.

        AssertionError: the exit status is another, no error line fits one of the causes (regular expressions), or the
        plugin did not expect the failure itself.
        """
        assert self.status == status, self
        assert "Traceback" not in self.stderr + self.stdout, self
        assert "(a defect; " not in self.stderr, self
        for cause in causes:
            assert any(re.search(cause, line) for line in self.errors), f"no line tells of {cause!r}: {self}"
        return self.errors

    def __str__(self) -> str:
        return f"exit {self.status} after {self.seconds:.1f} s\n{self.stdout}{self.stderr}"


class Running:
    """A command that runs; what it writes is read all the while.

    Attributes:
        words: the command line, for messages.
        process: without a stdin; its pipes are read here and by nobody else.
    """

    def __init__(self, command: list[str], variables: Mapping[str, str]) -> None:
        self.words = command
        self._started = self._ended = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._readers = {
            name: threading.Thread(target=self._read, args=(name, getattr(self.process, name)), daemon=True)
            for name in self._lines
        }
        for reader in self._readers.values():
            reader.start()

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    @property
    def stderr(self) -> str:
        """What was written to stderr so far."""
        return "".join(self._lines["stderr"])

    def wait_until_shown(self, *patterns: str, seconds: float = 120) -> None:
        """Wait until stderr has a match for each of the regular expressions.

        AssertionError: the command ends, or the time is over, before all of them match.
        """

        def find_missing() -> list[str]:
            # asked first: a last line may come between the search and the end
            is_writing = self._readers["stderr"].is_alive()
            missing = [pattern for pattern in patterns if not re.search(pattern, self.stderr)]
            assert is_writing or not missing, f"{self.words}: {missing} never came:\n{self.stderr}"
            return missing

        missing = wait_until(find_missing, seconds, pause=0.02, satisfies=operator.not_)
        assert not missing, f"{self.words}: {missing} never came:\n{self.stderr}"

    def wait(self, seconds: float) -> Outcome:
        """Return how the command ends; AssertionError: it has not ended `seconds` from now, and is killed."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.words}: not ended after {seconds} s:\n{self.stderr}") from None
        for reader in self._readers.values():
            reader.join(10)
        return Outcome(status, "".join(self._lines["stdout"]), self.stderr, self._ended - self._started)

    def kill(self) -> None:
        """End the process as `kill -9` does, so that it can tidy up nothing."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def _read(self, name: str, stream: IO[str]) -> None:
        for line in stream:
            self._lines[name].append(line)
        self._ended = time.monotonic()


@dataclass(frozen=True)
class Operator:
    """Somebody with a home directory and a key, who runs `cms cluster`.

    Attributes:
        home: empty at first; whatever `cms` stores of a cluster is stored there.
        key: private key file, for hosts that were started by hand; None: for local hosts, which need none.
        timeout: seconds that a command may take.
        trusting: whether unknown host keys are accepted.
    """

    home: Path
    key: Path | None = None
    timeout: float = TIMEOUT
    trusting: bool = True

    def cms(
        self, verb: str, *words: str, seconds: float | None = None, env: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run `cms cluster VERB WORDS` to its end.

        Args:
            verb: of the command.
            words: its arguments; the options for the login with the key are added.
            seconds: that it may take, where that is not `timeout`; AssertionError: it takes longer.
            env: further environment variables.
        """
        with self.start(verb, *words, env=env) as running:
            return running.wait(self.timeout if seconds is None else seconds)

    @contextmanager
    def start(self, verb: str, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
        """Yield the running command; it is killed if it outlives the block."""
        running = Running(self._command(verb, words), {**environment(self.home), **(env or {})})
        try:
            yield running
        finally:
            running.kill()

    def cms_on_terminal(self, prompt: str, answer: str | Callable[[str], str], verb: str, *words: str) -> Outcome:
        """Run the command on a terminal, to its end.

        Args:
            prompt: a text that the command asks for something with.
            answer: what is typed whenever it does, without the line's end; or what gives it, by the line asked last.
            verb: of the command.
            words: its arguments.
        """
        started = time.monotonic()
        child, terminal = pty.fork()
        if child == 0:
            os.execve(CMS, self._command(verb, words), environment(self.home))  # noqa: S606
        shown, answered, end = "", 0, started + TIMEOUT
        try:
            while time.monotonic() < end and (text := _read_shown(terminal, end)):
                shown += text
                while shown.count(prompt) > answered:
                    typed = answer if isinstance(answer, str) else answer(shown[shown.rindex(prompt) :])
                    os.write(terminal, f"{typed}\n".encode())
                    answered += 1
            return Outcome(_wait_for_child(child, end), "", shown, time.monotonic() - started)
        finally:
            os.close(terminal)

    def _command(self, verb: str, words: tuple[str, ...]) -> list[str]:
        options = []
        if self.key and verb not in ("image", "engines"):
            options = ["--user", USER, "--key", str(self.key)] + ["--accept-new-hostkeys"] * self.trusting
        return [str(CMS), "cluster", verb, *words, *options]


def environment(home: Path) -> dict[str, str]:
    """Return the environment of somebody with a home directory, in which nothing leads elsewhere."""
    variables = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    # the engine is fetched or built once for all
    variables["PATH"] = openssh_home.path(variables["PATH"])
    return {**variables, "HOME": str(home), "CLOUDMESH_CLUSTER_CACHE": str(cache_directory())}


def run_checkout(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `cms WORDS` with the test's own environment; without words, `cms` runs the commands of its stdin."""
    return subprocess.run(
        [*CMS_OF_CHECKOUT, *words], input=stdin, capture_output=True, text=True, check=False, timeout=60, cwd="/"
    )


def run_in_process(*words: str) -> int:
    """Run `cms cluster WORDS` in this process, whose stdout and stderr it writes to, and return its exit code."""
    do = ClusterCommand.do_cluster
    return exit_codes.guarded(
        lambda: do.__wrapped__(None, "", docopt_usage.parse(do.__wrapped__.__doc__, words, "cluster"))
    )


def _read_shown(terminal: int, end: float) -> str:
    """Return what is shown next; nothing once the terminal is closed or `end`, a monotonic time, is past."""
    if not select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
        return ""
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # how Linux says that nobody has the terminal open any more
        return ""


def _wait_for_child(child: int, end: float) -> int:
    """Return the exit code of a child process; AssertionError: it has not ended at `end`, a monotonic time."""
    pid, status = wait_until(
        lambda: os.waitpid(child, os.WNOHANG), end - time.monotonic(), pause=0.05, satisfies=lambda ended: ended[0] != 0
    )
    if pid:
        return os.waitstatus_to_exitcode(status)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the command did not end")
