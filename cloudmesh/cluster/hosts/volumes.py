"""Creates and removes what a cluster's volumes need on the hosts: directories and NFS mounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.model import Volume
from cloudmesh.cluster.core.paths import DATA_DIR, PROGRAM_DIR
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

# Directories that jobs must not mount. The same holds for what is below them and for what contains them.
# fmt: off
FORBIDDEN = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin", "/sys",
    "/usr", PROGRAM_DIR, "/opt/containerd", "/var/run",
    DATA_DIR, "/var/lib/containerd", "/var/lib/docker", "/var/lib/kubelet", "/var/lib/etcd",
    "/var/cache", "/var/lib/dpkg", "/var/lib/systemd", "/var/log", "/var/spool/cron",
)
# fmt: on

_TIMEOUT = 600.0


def apply_on_host(connection: Connection, verb: str, volumes: Sequence[Volume], context: Context) -> None:
    """Run `storage.sh` for `volumes` on one host.

    Args:
        connection: to the host.
        verb: "add" or "remove".
        volumes: what to add or remove.
        context: its report receives the script's steps.

    Raises:
        HostError: the script failed, or did not end within ten minutes.
    """
    script = host_script.load("host/lib.sh", "host/clean.sh", "host/storage.sh")
    files = {
        "places": host_script.lines(f"{volume.name} {volume.kind} {volume.source}" for volume in volumes),
        "forbidden": host_script.lines(FORBIDDEN),
    }
    connection.run(script, verb, files=files, timeout=_TIMEOUT, report=context.report)
    context.report.done(str(connection.host), "storage")
