"""One task of a Hadoop cluster: `hadoop.py head|worker` (see entrypoint.sh).

CMS_HADOOP is JSON:
    workers  how many there are
    conf     settings of Hadoop's, by name
    stays    whether this is a service, which runs no program
    steps    programs, one after another: {"jar": PATH, "class": NAME or "", "arguments": […]}
    input    names of files in $CMS_JOB_DIR that are put into /input
    output   the directory that is copied to $CMS_RESULTS in the end
    fetch    whether that directory must be there
    again    seconds that workers wait for another head when theirs has gone
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

import kerberos
import settings
import task
from daemons import Daemons, java
from supervise import REFUSED_FOR, SILENT_FOR, TIMED_OUT, UNAVAILABLE, Watch, answers, say, seconds, wait_for

_NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
_RESOURCEMANAGER = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
_HISTORY = "org.apache.hadoop.mapreduce.v2.hs.JobHistoryServer"
_DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
_NODEMANAGER = "org.apache.hadoop.yarn.server.nodemanager.NodeManager"
_SHELL = "org.apache.hadoop.fs.FsShell"
_RUN = "org.apache.hadoop.util.RunJar"
_FAILED = 70
_FOREVER = float(2**31)


class Head:
    """The head of the cluster.

    Args:
        daemons: that its processes join.
        plan: what is to be done.
    """

    def __init__(self, daemons: Daemons, plan: Mapping[str, Any]) -> None:
        self._daemons = daemons
        self._plan = plan
        # Two and a half of these are the masters' heaps, one the program's; the rest is what JVMs take beside them.
        self._share = task.memory_mb() // 6
        self._where = settings.Head(*(task.own(name) for name in settings.Head._fields))
        self._environment = task.configure(self._where, settings.of_head(self._where, str(task.data())))

    def start(self) -> None:
        """Start the daemons."""
        self._daemons.start("kdc", *kerberos.service(task.FOLDER, task.secret(), self._where.kdc))
        if not (task.data() / "name" / "current").exists():
            done = self._run(_NAMENODE, "-format", "-nonInteractive", quiet=True)
            if done:
                raise SystemExit(done)
        self._daemon("namenode", _NAMENODE, self._share)
        if self._where.resourcemanager:
            self._daemon("resourcemanager", _RESOURCEMANAGER, self._share)
            self._daemon("history", _HISTORY, self._share // 2)

    def ready(self) -> bool:
        """Return whether every worker is there and all answer."""
        count = self._daemons.said
        return (
            count("namenode", r"Adding a new node: (\S+)") >= self._plan["workers"]
            and count("resourcemanager", r"(\S+) Node Transitioned from NEW to RUNNING") >= self._plan["workers"]
            and answers(self._where.history)
        )

    def work(self) -> int:
        """Put the input, run the programs, fetch the output; return the first status that is not 0, or 0."""
        if self._plan["input"]:
            files = [f"{os.environ['CMS_JOB_DIR']}/{name}" for name in self._plan["input"]]
            if status := self._run(_SHELL, "-mkdir", "-p", "/input") or self._run(_SHELL, "-put", *files, "/input/"):
                return status
        for step in self._plan["steps"]:
            words = [step["jar"], *([step["class"]] if step["class"] else []), *step["arguments"]]
            if status := self._run(_RUN, *words):
                return status
        return self._fetch(self._plan["output"])

    def _fetch(self, output: str) -> int:
        if not self._plan["fetch"] and self._run(_SHELL, "-test", "-d", output, quiet=True):
            return 0
        return self._run(_SHELL, "-get", "-f", output, os.environ["CMS_RESULTS"])

    def _daemon(self, name: str, main: str, heap_mb: int) -> None:
        self._daemons.start(name, java(task.CONFIGURATION, heap_mb, main), self._environment)

    def _run(self, main: str, *arguments: str, quiet: bool = False) -> int:
        """Run a program to its end, and return its status; its output is the job's."""
        command = java(task.CONFIGURATION, self._share, main, *arguments)
        log = self._daemons.log("program").open("wb") if quiet else None
        with subprocess.Popen(command, env=self._environment, stdout=log, stderr=log) as process:  # noqa: S603
            try:
                while process.poll() is None:
                    if self._daemons.ended():
                        return _FAILED
                    time.sleep(0.2)
            finally:
                process.kill()
        if quiet and process.returncode not in (0, 1):
            self._daemons.tell("program")
        return process.returncode


def head() -> int:
    """Run the head until its work is done, or a service's for ever."""
    with Daemons(task.FOLDER / "logs") as daemons:
        plan = task.plan()
        its = Head(daemons, plan)
        its.start()
        if plan["stays"]:
            say(f"NameNode at {task.own('namenode')}")
            return _FAILED if daemons.until(lambda: False, _FOREVER) else 0
        patience = seconds("CMS_WAIT_SECONDS", 600)
        if why := daemons.until(its.ready, patience):
            say(f"{plan['workers']} workers were waited for: {why}")
            for name in ("namenode", "resourcemanager", "history"):
                daemons.tell(name)
            return UNAVAILABLE
        return its.work()


def head_address() -> str:
    """Return where the head is, once the others of its ports are known, too."""
    known = [task.peer("head", name) for name in ("kdc", "namenode")]
    return known[1] if all(known) else ""


def start_worker(daemons: Daemons) -> None:
    """Start a worker's daemons for the head that the peers file names."""
    task.forget()
    where = settings.Head(*(task.peer("head", name) for name in settings.Head._fields))
    cores = int(os.environ.get("CMS_CORES") or 1)
    folder, address = str(task.FOLDER), os.environ["CMS_ADDRESS"]
    rules = settings.of_worker(address, task.ports(), str(task.data()), folder, cores, task.memory_mb())
    environment = task.configure(where, rules)
    computes = "nodemanager" in task.ports()
    heap = settings.WORKER_MEMORY_MB // 4 if computes else task.memory_mb() // 2
    daemons.start("datanode", java(task.CONFIGURATION, heap, _DATANODE), environment)
    if computes:
        daemons.start("nodemanager", java(task.CONFIGURATION, heap, _NODEMANAGER), environment)


def run_beside(namenode: str) -> int | None:
    """Run a worker's daemons until one ends, and return a status, or until the head has gone, and return None."""
    watch = Watch(namenode)
    with Daemons(task.FOLDER / "logs") as daemons:
        start_worker(daemons)
        while not daemons.ended():
            watch.look()
            gone = watch.refused and (watch.silence > REFUSED_FOR or not head_address())
            if gone or watch.silence > SILENT_FOR:
                say(f"the head at {namenode} has gone")
                watch.close()
                return None
            time.sleep(0.5)
    return _FAILED


def worker() -> int:
    """Run the worker for as long as there is a head; of a service, for ever."""
    patience = _FOREVER if task.plan()["stays"] else seconds("CMS_WAIT_SECONDS", 600)
    namenode = wait_for(head_address, patience)
    while namenode:
        status = run_beside(namenode)
        if status is not None:
            return status
        namenode = wait_for(head_address, _FOREVER if task.plan()["stays"] else task.plan()["again"])
    return 0


def timed_out(_signal: int, _frame: FrameType | None) -> None:
    """End with the status that says so."""
    say("the time is over")
    sys.exit(TIMED_OUT)


def main() -> int:
    """Run the role that is named first."""
    # PID 1 gets no signal that it has no handler for. Whatever runs is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, timed_out)
    if sys.argv[1] == "worker":
        return worker()
    signal.alarm(int(seconds("CMS_TIMEOUT_SECONDS", 0)))
    return head()


if __name__ == "__main__":
    sys.exit(main())
