"""What hosts hold of the cluster's volumes, directories and NFS mounts, brought and taken away by a host script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.model import Volume, volume_source
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


# What a job must not have mounted: neither these, nor what is in them, nor what holds them.
FORBIDDEN = (
    *(
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/sys",
    ),
    *("/usr", "/opt/cloudmesh", "/opt/containerd", "/var/run"),
    *("/var/lib/cloudmesh", "/var/lib/containerd", "/var/lib/docker", "/var/lib/kubelet", "/var/lib/etcd"),
    *("/var/cache", "/var/lib/dpkg", "/var/lib/systemd", "/var/log", "/var/spool/cron"),
)

_SECONDS = 600.0


def apply_on_host(connection: Connection, verb: str, places: Sequence[Volume], context: Context) -> None:
    """Run the host script for places on one host."""
    body = host_script.load("host/lib.sh", "host/clean.sh", "host/storage.sh")
    inputs = {
        "places": "".join(f"{place.name} {place.kind} {volume_source(place)}\n" for place in places).encode(),
        "forbidden": "".join(f"{path}\n" for path in FORBIDDEN).encode(),
    }
    connection.run(body, verb, files=inputs, timeout=_SECONDS, report=context.report)
    context.report.done(str(connection.host), "storage")
