"""Becoming root on a host: at once, by sudo without a password, or by sudo with one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudmesh.cluster.errors import AuthenticationError
from cloudmesh.cluster.hosts.channel import Command
from cloudmesh.cluster.hosts.link import Link, SshSettings
from cloudmesh.cluster.model import Host

if TYPE_CHECKING:
    import paramiko

_TIMEOUT = 20.0  # sudo waits for DNS and PAM, a few seconds each
_PROBE = (
    'if [ "$(id -u)" -eq 0 ]; then echo root; elif ! command -v sudo >/dev/null; then echo missing; '
    "elif sudo -k -n true 2>/dev/null; then echo free; else echo password; fi"
)
_ASK = "env LC_ALL=C sudo -k -S -p '' "
_asking = threading.Lock()  # hosts are connected in parallel; one question at a time


@dataclass(frozen=True)
class Privilege:
    """How commands become root.

    Attributes:
        prefix: goes before the command.
        stdin: goes before the command's own stdin; holds the password, which is never in any argv.
    """

    prefix: str = ""
    stdin: bytes = field(default=b"", repr=False)


def gain(host: Host, link: Link, settings: SshSettings) -> Privilege:
    """Return how commands become root on `host`, tried out once.

    Raises:
        AuthenticationError: there is no sudo, or it wants a password that is not there, or it refused.
        paramiko.SSHException, OSError: the connection failed.
    """
    if link.user == "root":
        return Privilege()
    answer = _run(link.transport, f"sh -c '{_PROBE}'", b"")[1].strip()
    if answer == "root":
        return Privilege()
    if answer == "free":
        return Privilege("sudo -k -n ")
    if answer == "missing":
        raise AuthenticationError(str(host), f"user {link.user} is not root and there is no sudo: log in as root")
    return _with_password(host, link, settings)


def _with_password(host: Host, link: Link, settings: SshSettings) -> Privilege:
    if settings.sudo_password is None:
        raise AuthenticationError(
            str(host), f"sudo wants a password of user {link.user}: run on a terminal, or allow NOPASSWD in sudoers"
        )
    with _asking:
        password = settings.sudo_password(f"{link.user}@{host}")
    privilege = Privilege(_ASK, password.encode() + b"\n")
    status, _, stderr = _run(link.transport, f"{_ASK}true", privilege.stdin)
    if status:
        raise AuthenticationError(str(host), _refusal(link.user, stderr))
    return privilege


def _refusal(user: str, stderr: str) -> str:
    if "Sorry, try again" in stderr or "incorrect password" in stderr or "no password was provided" in stderr:
        return f"sudo refused the password of user {user}"
    last = stderr.strip().rsplit("\n", 1)[-1]
    return f"sudo refused user {user}: {last or 'no reason given'}"


def _run(transport: paramiko.Transport, command: str, stdin: bytes) -> tuple[int, str, str]:
    deadline = time.monotonic() + _TIMEOUT
    with Command(transport, command, stdin, timeout=_TIMEOUT) as running:
        output = "\n".join(running.lines(deadline))
        return running.status(deadline), output, running.stderr
