"""Reads what a Hadoop task knows about itself and the other tasks; entrypoint.sh describes its environment."""

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
    """Return the secret of the job, or of the service that the job uses."""
    if service_secret := os.environ.get("CMS_HADOOP_SECRET"):
        return service_secret
    return Path(os.environ["CMS_SECRET_FILE"]).read_text(encoding="ascii").strip()


def plan() -> dict[str, Any]:
    """Return the content of CMS_HADOOP; `hadoop.py` describes its fields."""
    content: dict[str, Any] = json.loads(os.environ["CMS_HADOOP"])
    return content


def service() -> str:
    """Return the job id of the service to which this task belongs or which it uses; empty where there is no service."""
    if plan()["stays"]:
        return os.environ["CMS_JOB_ID"]
    return os.environ.get("CMS_HADOOP_URI", "").removeprefix("hdfs://")


def memory_mb() -> int:
    """Return how many MiB all processes of this task may use together."""
    return int(os.environ["CMS_MEMORY_MB"])


def ports() -> dict[str, str]:
    """Return the numbers of this task's ports, by name."""
    prefix = "CMS_PORT_"
    return {name[len(prefix) :].lower(): number for name, number in os.environ.items() if name.startswith(prefix)}


def own_address(port: str) -> str:
    """Return ADDRESS:PORT of this task's port of that name; empty where it has none."""
    number = ports().get(port)
    return f"{os.environ['CMS_ADDRESS']}:{number}" if number else ""


def peer(group: str, port: str) -> str:
    """Return ADDRESS:PORT of a port of the first task of a task group; empty while it is not known."""
    try:
        lines = Path(os.environ["CMS_PEERS_FILE"]).read_text(encoding="ascii").splitlines()
        for line in lines:
            if (words := line.split())[:3] == [group, "0", port]:
                host, _, number = words[3].rpartition(":")
                # Java gets no names: it would look them up, and a name may be known on this host only.
                return f"{socket.gethostbyname(host)}:{number}"
    except (OSError, ValueError, IndexError):
        pass
    return ""


def data() -> Path:
    """Return the directory for data that must outlive the task; it is made if it does not exist."""
    volume = os.environ.get("CMS_DATA")
    path = Path(volume, os.environ["CMS_JOB_ID"], os.environ["CMS_TASK"]) if volume else FOLDER / "data"
    path.mkdir(parents=True, exist_ok=True)
    return path


def forget() -> None:
    """Remove the blocks that belong to a head that has gone, since another head does not know them.

    Blocks below CMS_DATA must outlive the head, and stay.
    """
    if not os.environ.get("CMS_DATA"):
        shutil.rmtree(data(), ignore_errors=True)


def configure(head: settings.Head, rules: Mapping[str, str]) -> dict[str, str]:
    """Write the settings, and return the environment for all processes; `rules` are those of this task's role."""
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
