"""What the operator brings to a command: where to look, how to get in, whom to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Report

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class SshSettings:
    """How hosts are connected.

    Attributes:
        known_hosts: our file of host keys, see `hosts/known.py`.
        accept_new_hostkeys: accept unknown host keys.
        confirm: asks the user a yes-or-no question about an unknown host key.
        sudo_password: asks the user for the sudo password of "USER@HOST".
        connect_timeout: seconds for each of TCP connection, key exchange and login.
        passphrase: asks the user for the passphrase of a key file.
    """

    known_hosts: Path
    accept_new_hostkeys: bool = False
    confirm: Callable[[str], bool] | None = None
    sudo_password: Callable[[str], str] | None = None
    connect_timeout: float = 10.0
    passphrase: Callable[[str], str] | None = None


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
