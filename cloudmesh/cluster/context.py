"""What the operator brings to a command: where to look, how to get in, whom to tell."""

from __future__ import annotations

from dataclasses import dataclass

from cloudmesh.cluster.hosts.ssh import SshSettings
from cloudmesh.cluster.model import Host, Report


@dataclass(frozen=True)
class Context:
    """The operator's side of one command; nothing in it outlives the command.

    Attributes:
        settings: how SSH verifies hosts and asks.
        report: is told how long work gets on.
        operator: who holds the lock, for others to read: "user@machine".
        hosts: where to look for clusters, from `--hosts` or the environment.
        user: login name for all hosts; empty: as each says.
        key: private key file for all hosts.
        port: SSH port for all hosts.
        interface: device name or CIDR of the network among the hosts; empty: that of the default route.
        mirror: where engine binaries are fetched from first, a directory or URL.
        ca_bundle: file of certificate authorities for HTTPS in image builds; empty: the environment's.
    """

    settings: SshSettings
    report: Report
    operator: str
    hosts: tuple[Host, ...] = ()
    user: str = ""
    key: str = ""
    port: int = 0
    interface: str = ""
    mirror: str = ""
    ca_bundle: str = ""
