"""What a task of Hadoop knows of itself and of the others; see entrypoint.sh for its environment."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kerberos
import settings

FOLDER = Path("/opt/cloudmesh/work/hadoop")
CONFIGURATION = FOLDER / "conf"


def secret() -> str:
    """Return the job's secret, or that of the service that the job uses."""
    if given := os.environ.get("CMS_HADOOP_SECRET"):
        return given
    return Path(os.environ["CMS_SECRET_FILE"]).read_text(encoding="ascii").strip()


def plan() -> dict[str, Any]:
    """Return what CMS_HADOOP says; `hadoop.py` tells its fields."""
    found: dict[str, Any] = json.loads(os.environ["CMS_HADOOP"])
    return found


def service() -> str:
    """Return the job id of the service that this task is of, or uses; empty where a job has a cluster of its own."""
    if plan()["stays"]:
        return os.environ["CMS_JOB_ID"]
    return os.environ.get("CMS_HADOOP_URI", "").removeprefix("hdfs://")


def memory_mb() -> int:
    """Return the MiB that all processes together may take."""
    return int(os.environ["CMS_MEMORY_MB"])


def ports() -> dict[str, str]:
    """Return the numbers of the task's own ports by their names."""
    prefix = "CMS_PORT_"
    return {name[len(prefix) :].lower(): number for name, number in os.environ.items() if name.startswith(prefix)}


def own(port: str) -> str:
    """Return HOST:PORT of a port of this task; empty where it has none of that name."""
    number = ports().get(port)
    return f"{os.environ['CMS_ADDRESS']}:{number}" if number else ""


def peer(part: str, port: str) -> str:
    """Return ADDRESS:PORT of a port of the first task of a part; empty while it is not known."""
    try:
        lines = Path(os.environ["CMS_PEERS_FILE"]).read_text(encoding="ascii").splitlines()
        for line in lines:
            if (words := line.split())[:3] == [part, "0", port]:
                host, _, number = words[3].rpartition(":")
                # Java gets addresses alone: a name would be looked up, and might be known to this host only.
                return f"{socket.gethostbyname(host)}:{number}"
    except (OSError, ValueError, IndexError):
        pass
    return ""


def data() -> Path:
    """Return the directory for what must last, made if need be."""
    place = os.environ.get("CMS_DATA")
    path = Path(place, os.environ["CMS_JOB_ID"], os.environ["CMS_TASK"]) if place else FOLDER / "data"
    path.mkdir(parents=True, exist_ok=True)
    return path


def forget() -> None:
    """Remove the blocks of a head that has gone, unless they must last: another head would not know them."""
    if not os.environ.get("CMS_DATA"):
        shutil.rmtree(data(), ignore_errors=True)


def configure(head: settings.Head, rules: Mapping[str, str]) -> dict[str, str]:
    """Write the settings, and return the environment of every process."""
    for folder in (CONFIGURATION, FOLDER / "logs", FOLDER / "tmp", FOLDER / "local"):
        folder.mkdir(parents=True, exist_ok=True)
    chosen = {**settings.defaults(plan()["workers"]), **plan()["conf"]}
    properties = settings.document({**chosen, **settings.everywhere(head, str(FOLDER), service()), **rules})
    for name in settings.FILES:
        kerberos.write(CONFIGURATION / name, properties)
    log = Path(__file__).with_name("log4j.properties").read_bytes()
    kerberos.write(CONFIGURATION / "log4j.properties", log)
    masters = ",".join(number for name, number in sorted(ports().items()) if name.startswith("master"))
    return {
        **os.environ,
        **kerberos.enter(FOLDER, secret(), head.kdc),
        "HADOOP_CONF_DIR": str(CONFIGURATION),
        "CMS_MASTER_PORTS": masters,
    }
