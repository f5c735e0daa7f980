"""Puts a job's input into HDFS, runs its programs in turn and fetches its output, on its own cluster or a service."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import task
from daemons import Daemons, java

FAILED = 70
# The directory for the job's local files, relative to the working directory of its programs.
_INPUT = "input"
_SHELL = "org.apache.hadoop.fs.FsShell"
_RUN = "org.apache.hadoop.util.RunJar"


class Programs:
    """The programs of a job, which run in the foreground while `daemons` run.

    Args:
        daemons: processes that the programs need; where one ends, the running program is killed.
        plan: the content of CMS_HADOOP.
        environment: environment of every program.
        heap_mb: size of each program's heap in MiB.
    """

    def __init__(self, daemons: Daemons, plan: Mapping[str, Any], environment: Mapping[str, str], heap_mb: int) -> None:
        self._daemons = daemons
        self._plan = plan
        self._environment = environment
        self._heap_mb = heap_mb

    def work(self) -> int:
        """Put the input, run the programs, fetch the output; return the first status that is not 0, else 0."""
        _link_files(Path(os.environ["CMS_JOB_DIR"]))
        if self._plan["input"]:
            files = [f"{os.environ['CMS_JOB_DIR']}/{name}" for name in self._plan["input"]]
            status = self.run(_SHELL, "-mkdir", "-p", _INPUT) or self.run(_SHELL, "-put", *files, f"{_INPUT}/")
            if status:
                return status
        for step in self._plan["steps"]:
            words = [step["jar"], *([step["class"]] if step["class"] else []), *step["arguments"]]
            if status := self.run(_RUN, *words):
                return status
        return self._fetch(self._plan["output"])

    def run(self, main: str, *arguments: str, quiet: bool = False) -> int:
        """Run a program to its end, and return its status. Its output is that of the job, or with `quiet` in a log."""
        command = java(task.CONFIGURATION, self._heap_mb, main, *arguments)
        log = self._daemons.log("program").open("wb") if quiet else None
        with subprocess.Popen(command, env=self._environment, stdout=log, stderr=log) as process:  # noqa: S603
            try:
                while process.poll() is None:
                    if self._daemons.ended():
                        return FAILED
                    time.sleep(0.2)
            finally:
                process.kill()
        if quiet and process.returncode not in (0, 1):
            self._daemons.tell("program")
        return process.returncode

    def _fetch(self, output: str) -> int:
        if not self._plan["fetch"] and self.run(_SHELL, "-test", "-d", output, quiet=True):
            return 0
        return self.run(_SHELL, "-get", "-f", output, os.environ["CMS_RESULTS"])


def _link_files(folder: Path) -> None:
    """Let the programs find the job's local files by their names, where there is nothing else of that name."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if not os.path.lexists(file.name):
            Path(file.name).symlink_to(file)
