"""Starts the Java processes of a task, watches them and their logs, and ends them together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from settings import LIBRARIES
from supervise import say

_LAST_LINES = 25
# Time for the processes to end; engines give the whole task ten seconds.
_GRACE_SECONDS = 8
_LONGEST_LINE = 400
# Guice, with which YARN makes its web pages, uses reflection on these packages.
_OPENED = [
    option
    for package in ("java.lang", "java.util", "java.util.concurrent", "java.net", "java.text")
    for option in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")
]
# The processes start often and work little: without the second compiler, a start takes a third less processor time.
_FRUGAL = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]


def java(configuration: Path, heap_mb: int, main: str, *arguments: str) -> list[str]:
    """Return the command that runs a class of Hadoop.

    Args:
        configuration: directory with the settings.
        heap_mb: size of the heap in MiB.
        main: the class.
        arguments: the arguments of the class.
    """
    level = os.environ.get("HADOOP_LOG_LEVEL", "INFO")
    options = [f"-Xmx{heap_mb}m", *_FRUGAL, f"-Dcms.log.level={level}", *_OPENED]
    return [
        f"{os.environ['JAVA_HOME']}/bin/java",
        *options,
        "-cp",
        ":".join((str(configuration), *LIBRARIES)),
        main,
        *arguments,
    ]


class Daemons:
    """Processes that belong together. As a context manager, it ends all of them.

    Args:
        logs: the folder for their logs.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Daemons:
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process whose output goes to the log of this name."""
        with self.log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - a command of the image
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._logs / f"{name}.log"

    def ended(self) -> str:
        """Return the name of a process that has ended, and print the end of its log; empty while all run."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                say(f"{name} has ended with status {process.returncode}; its last words:")
                self.tell(name)
                return name
        return ""

    def tell(self, name: str) -> None:
        """Print the last lines of a process's log."""
        if self.log(name).exists():
            for line in self.log(name).read_text(errors="replace").splitlines()[-_LAST_LINES:]:
                say(f"{name}: {line[:_LONGEST_LINE]}")

    def logged(self, name: str, pattern: str) -> set[str]:
        """Return the different texts that the group of `pattern` matches in a process's log."""
        if not self.log(name).exists():
            return set()
        return set(re.findall(pattern, self.log(name).read_text(errors="replace")))

    def until(self, condition: Callable[[], bool], timeout: float) -> str:
        """Wait until `condition` holds.

        Returns:
            Empty, or why the waiting ended without it: a process has ended, or `timeout` seconds are over.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if name := self.ended():
                return f"{name} has ended"
            if time.monotonic() > deadline:
                return f"it has not come about in {timeout:.0f} s"
            time.sleep(0.3)
        return ""
