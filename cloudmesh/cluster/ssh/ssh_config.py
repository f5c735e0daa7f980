"""Reads `~/.ssh/config` and the system's, to find how a host is reached: address, login name, keys and jump hosts."""

from __future__ import annotations

import getpass
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Host

if TYPE_CHECKING:
    import paramiko

_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_INCLUDE_DEPTH = 8  # how deep Include may be nested; deeper ones are ignored


@dataclass(frozen=True)
class Target:
    """Everything that is needed to reach a host.

    Attributes:
        address: DNS name or address to connect to.
        port: TCP port of sshd.
        user: login name.
        key_files: private key files that the user named, in order; empty: the agent and default files are used.
        agent: whether keys of the SSH agent may be tried beside `key_files`.
        jumps: jump hosts on the way, `[user@]host[:port]`, beginning with the one to connect to first.
        proxy_command: a command for the local shell, whose stdin and stdout are the connection; empty: none.
        key_name: the name under which known_hosts files have the host's key (HostKeyAlias); empty: `address`.
        known_hosts: the known_hosts files of the user and of the system.
    """

    address: str
    port: int
    user: str
    key_files: tuple[Path, ...] = ()
    agent: bool = True
    jumps: tuple[str, ...] = ()
    proxy_command: str = ""
    key_name: str = ""
    known_hosts: tuple[Path, ...] = ()


def resolve(host: Host) -> Target:
    """Return how to reach `host`: from its own fields, then `~/.ssh/config`, then the system's file, then defaults.

    Raises:
        UsageError: a configuration file cannot be read or is malformed.
    """
    if host.address:  # a local host, which no configuration file mentions
        return Target(host.address, host.port or 22, host.user or getpass.getuser(), key_name=host.name, agent=False)
    options = _lookup(host)
    key_files = [host.key] if host.key else list(options.get("identityfile", ()))
    jumps = options.get("proxyjump", "none")
    proxy_command = options.get("proxycommand", "none")
    known_hosts_files = options.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    return Target(
        address=options.get("hostname", host.name),
        port=int(options.get("port", 22)),
        user=options.get("user") or getpass.getuser(),
        key_files=tuple(Path(name).expanduser() for name in key_files if name != "none"),
        agent=not host.key and options.get("identitiesonly", "no").lower() != "yes",
        jumps=() if jumps.lower() == "none" else tuple(jump.strip() for jump in jumps.split(",")),
        proxy_command="" if proxy_command.lower() == "none" else proxy_command,
        key_name=options.get("hostkeyalias", ""),
        known_hosts=(*(Path(name).expanduser() for name in shlex.split(known_hosts_files)), _SYSTEM_KNOWN_HOSTS),
    )


def _lookup(host: Host) -> paramiko.SSHConfigDict:
    import paramiko

    # The first value of an option counts. So the user's choices go first, and also count for %r and %p in ProxyCommand.
    choices = {"User": host.user, "Port": host.port or ""}
    text = "Host *\n" + "".join(f"{option} {value}\n" for option, value in choices.items() if value)
    user_config = Path.home() / ".ssh" / "config"
    for path in (user_config, _SYSTEM_CONFIG):
        text += "Host *\n" + "\n".join(_read_lines(path, path.parent, _INCLUDE_DEPTH)) + "\n"
    try:
        return paramiko.SSHConfig.from_text(text).lookup(host.name)
    except (paramiko.SSHException, ImportError, ValueError) as error:
        raise UsageError(f"{user_config} cannot be used for {host.name}: {error}") from error


def _read_lines(path: Path, directory: Path, depth: int) -> Iterator[str]:
    """Yield the lines of a configuration file, and those of included files, as paramiko does not know Include."""
    block = "Host *"
    for line in _read_text(path).splitlines():
        keyword, *arguments = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if keyword.lower() in ("host", "match"):
            block = line
        if keyword.lower() != "include" or not arguments:
            yield line
            continue
        for included in _find_included_files(arguments[0], directory) if depth else ():
            yield from _read_lines(included, directory, depth - 1)
            yield block  # the next lines belong to the block in which the Include is


def _find_included_files(patterns: str, directory: Path) -> Iterator[Path]:
    for pattern in shlex.split(patterns):
        path = directory / Path(pattern).expanduser()
        yield from sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
