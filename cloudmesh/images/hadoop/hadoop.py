"""Runs one task of a Hadoop cluster, or of a job on one: `hadoop.py head|worker|client` (see entrypoint.sh).

CMS_HADOOP is JSON:
    workers  the number of workers
    masters  the number of MapReduce jobs for which each worker has ports
    conf     settings of Hadoop, by name
    stays    whether this is a service, which runs no program
    steps    programs to run in turn: {"jar": PATH, "class": NAME or "", "arguments": […]}
    input    names of files in $CMS_JOB_DIR that are put into the programs' directory `input`
    output   the directory that is copied to $CMS_RESULTS at the end
    fetch    whether that directory must exist
    again    seconds that workers wait for another head when theirs has gone
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

import kerberos
import settings
import task
from client import client
from daemons import Daemons, java
from programs import FAILED, Programs
from supervise import REFUSED_FOR, SILENT_FOR, TIMED_OUT, UNAVAILABLE, Watch, answers, say, seconds, wait_for

_NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
_RESOURCEMANAGER = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
_HISTORY = "org.apache.hadoop.mapreduce.v2.hs.JobHistoryServer"
_DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
_NODEMANAGER = "org.apache.hadoop.yarn.server.nodemanager.NodeManager"
_FOREVER = float(2**31)


class Head:
    """The head of the cluster.

    Args:
        daemons: the processes of the task, to which those of the head are added.
        plan: the content of CMS_HADOOP.
    """

    def __init__(self, daemons: Daemons, plan: Mapping[str, Any]) -> None:
        self._daemons = daemons
        self._plan = plan
        self._where = settings.Head(*(task.own_address(name) for name in settings.Head._fields))
        # NameNode and ResourceManager get one share each as heap, JobHistory gets half a share, and the program another
        # one if there is a program. The rest is for what JVMs need beside their heaps.
        shares = 2 if not self._where.resourcemanager else 5 if plan["stays"] else 6
        self._share = task.memory_mb() // shares
        rules = settings.of_head(self._where, str(task.data()), plan["masters"])
        self._environment = task.configure(self._where, rules)
        self.programs = Programs(daemons, plan, self._environment, self._share)

    def start(self) -> None:
        """Start the daemons."""
        self._daemons.start("kdc", *kerberos.service(task.FOLDER, task.secret(), self._where.kdc))
        if not (task.data() / "name" / "current").exists():
            status = self.programs.run(_NAMENODE, "-format", "-nonInteractive", quiet=True)
            if status:
                self._daemons.tell("program")
                raise SystemExit(status)
        self._daemon("namenode", _NAMENODE, self._share)
        if self._where.resourcemanager:
            self._daemon("resourcemanager", _RESOURCEMANAGER, self._share)
            self._daemon("history", _HISTORY, self._share // 2)

    def ready(self) -> bool:
        """Return whether all workers have come and all daemons answer."""
        logged, workers = self._daemons.logged, self._plan["workers"]
        return (
            len(logged("namenode", r"Adding a new node: (\S+)")) >= workers
            and len(logged("resourcemanager", r"(\S+) Node Transitioned from NEW to RUNNING")) >= workers
            and answers(self._where.history)
        )

    def _daemon(self, name: str, main: str, heap_mb: int) -> None:
        self._daemons.start(name, java(task.CONFIGURATION, heap_mb, main), self._environment)


def head() -> int:
    """Run the head until its programs have ended; the head of a service, for ever."""
    with Daemons(task.FOLDER / "logs") as daemons:
        plan = task.plan()
        cluster_head = Head(daemons, plan)
        cluster_head.start()
        if plan["stays"]:
            say(f"NameNode at {task.own_address('namenode')}")
            return FAILED if daemons.until(lambda: False, _FOREVER) else 0
        patience = seconds("CMS_WAIT_SECONDS", 600)
        if why := daemons.until(cluster_head.ready, patience):
            say(f"{plan['workers']} workers were waited for: {why}")
            for name in ("namenode", "resourcemanager", "history"):
                daemons.tell(name)
            return UNAVAILABLE
        return cluster_head.programs.work()


def head_address() -> str:
    """Return the address of the head's NameNode; empty until all ports that this worker needs are known."""
    names = settings.Head._fields if computes() else ("namenode", "kdc")
    addresses = [task.peer("head", name) for name in names]
    return addresses[0] if all(addresses) else ""


def computes() -> bool:
    """Return whether this worker runs tasks of YARN besides storing blocks."""
    return "nodemanager" in task.ports()


def start_worker(daemons: Daemons) -> None:
    """Start a worker's daemons for the head that the peers file names."""
    task.forget()
    where = settings.Head(*(task.peer("head", name) for name in settings.Head._fields))
    cores = int(os.environ.get("CMS_CORES") or 1)
    folder, address = str(task.FOLDER), os.environ["CMS_ADDRESS"]
    rules = settings.of_worker(address, task.ports(), str(task.data()), folder, cores, task.memory_mb())
    environment = task.configure(where, rules)
    heap = settings.WORKER_MEMORY_MB // 4 if computes() else task.memory_mb() // 2
    daemons.start("datanode", java(task.CONFIGURATION, heap, _DATANODE), environment)
    if computes():
        daemons.start("nodemanager", java(task.CONFIGURATION, heap, _NODEMANAGER), environment)


def run_beside(namenode: str) -> int | None:
    """Run a worker's daemons until one ends or the head has gone; return a status, or None where the head has gone."""
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
    return FAILED


def worker() -> int:
    """Run the worker as long as there is a head; the worker of a service, for ever."""
    patience = _FOREVER if task.plan()["stays"] else seconds("CMS_WAIT_SECONDS", 600)
    namenode = wait_for(head_address, patience)
    while namenode:
        status = run_beside(namenode)
        if status is not None:
            return status
        namenode = wait_for(head_address, _FOREVER if task.plan()["stays"] else task.plan()["again"])
    return 0


def timed_out(_signal: int, _frame: FrameType | None) -> None:
    """End this process with the status for a timeout."""
    say("the time is over")
    sys.exit(TIMED_OUT)


def main() -> int:
    """Run the role that is named first."""
    # PID 1 gets only signals that it has a handler for. The exit ends all processes, since it leaves their contexts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, timed_out)
    if sys.argv[1] == "worker":
        return worker()
    signal.alarm(int(seconds("CMS_TIMEOUT_SECONDS", 0)))
    return client() if sys.argv[1] == "client" else head()


if __name__ == "__main__":
    sys.exit(main())
