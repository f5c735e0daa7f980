"""What the operator gives to a command: the hosts to look at, how to log in to them, and where to report progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Report

# Hosts are connected in parallel, but the operator must see one question at a time: hold this lock around every call of
# what `SshSettings` has for questions.
question_lock = threading.Lock()

_told: set[str] = set()
_told_lock = threading.Lock()


@dataclass(frozen=True)
class SshSettings:
    """How hosts are connected to.

    Attributes:
        known_hosts: the file in which Cloudmesh keeps host keys, see `ssh/known_hosts.py`.
        accept_new_hostkeys: whether unknown host keys are accepted without a question.
        confirm: asks the user a yes-or-no question about an unknown host key; None where nobody can be asked.
        sudo_password: asks the user for a sudo password, by a text that names user and host; None where nobody can be
            asked.
        connect_timeout: seconds for each of TCP connection, key exchange and login.
        passphrase: asks the user for the passphrase of a key file; None where nobody can be asked.
        sudo_answers: sudo passwords that hosts took, by "USER@HOST"; they are tried on other hosts, too.
        password: asks the user for the SSH password of "USER@HOST"; None where nobody can be asked.
        note: tells the user one line that matters; None where nobody is told.
    """

    known_hosts: Path
    accept_new_hostkeys: bool = False
    confirm: Callable[[str], bool] | None = None
    sudo_password: Callable[[str], str] | None = None
    connect_timeout: float = 10.0
    passphrase: Callable[[str], str] | None = None
    sudo_answers: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    password: Callable[[str], str] | None = None
    note: Callable[[str], None] | None = None

    def tell_once(self, text: str) -> None:
        """Tell the user one line, unless this program has told it already."""
        with _told_lock:
            is_new = text not in _told
            _told.add(text)
        if is_new and self.note:
            self.note(text)


@dataclass(frozen=True)
class Context:
    """What the operator gave to one command; nothing of it is kept after the command.

    Attributes:
        settings: how SSH verifies hosts and asks questions.
        report: receives the progress of long work.
        operator: who holds a cluster's lock, for others to read: "user@machine".
        hosts: where to look for clusters, from `--hosts` or the environment.
        user: login name for all hosts; empty: as written with the host or in `~/.ssh/config`.
        key: private key file for all hosts; empty: as in `~/.ssh/config`.
        port: SSH port for all hosts; 0: as written with the host or in `~/.ssh/config`.
        interface: device name or CIDR of the network between the hosts; empty: that of the default route.
        mirror: where binaries are fetched from first, a directory or URL.
        ca_bundle: file of certificate authorities for HTTPS in image builds; empty: that of the environment.
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
