"""Runs the programs of a job on a HadoopService, which use the YARN and HDFS of the service.

Beside them runs a companion (Companion.java). It waits for the service and makes the job's directory there. However the
job ends, the companion then removes that directory and ends what the job still runs in the service.
"""

from __future__ import annotations

import json
import os

import settings
import task
from daemons import Daemons, java
from programs import Programs
from supervise import UNAVAILABLE, say, seconds

_COMPANION = "cloudmesh.Companion"
_COMPANION_MB = 64
_READY = r"ready, replication (\d+)"


def client() -> int:
    """Run the programs to their end; return the first status that is not 0, else 0."""
    plan, head = task.plan(), settings.Head(**json.loads(os.environ["CMS_HADOOP_HEAD"]))
    job = os.environ["CMS_JOB_ID"]
    folder, tag = f"/jobs/{job}", f"cms-{job}"
    rules = settings.of_client(folder, tag)
    with Daemons(task.FOLDER / "logs") as daemons:
        environment = task.configure(head, rules)
        words = (folder, tag)
        daemons.start("companion", java(task.CONFIGURATION, _COMPANION_MB, _COMPANION, *words), environment)
        patience = seconds("CMS_WAIT_SECONDS", 600)
        if why := daemons.until(lambda: bool(daemons.logged("companion", _READY)), patience):
            say(f"the service was waited for: {why}")
            daemons.tell("companion")
            return UNAVAILABLE
        if "dfs.replication" not in plan["conf"]:
            # The service determines how many hosts have each block, unless the job does.
            (copies,) = daemons.logged("companion", _READY)
            environment = task.configure(head, {"dfs.replication": copies, **rules})
        return Programs(daemons, plan, environment, task.memory_mb() // 2).work()
