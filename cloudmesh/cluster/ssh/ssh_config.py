"""What `~/.ssh/config` and the defaults make of a host: where to connect, as whom, with which keys, through whom."""

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
_INCLUDE_DEPTH = 8


@dataclass(frozen=True)
class Target:
    """Everything that is needed to reach a host.

    Attributes:
        address: DNS name or address to connect to.
        port: TCP port.
        user: login name.
        key_files: private key files asked for by the user, in order; none: the agent and the default files count.
        agent: whether keys of the SSH agent may be tried beside `key_files`.
        jumps: hosts to go through, `[user@]host[:port]`, the first one first.
        proxy_command: for the local shell; its stdin and stdout are the connection.
        key_name: the name under which the host's key is known.
        known_hosts: files of the user and the system that hold known host keys.
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
    """Return how to reach `host`: by what it says itself, then by `~/.ssh/config`, by the system's, by default.

    Raises:
        UsageError: a configuration file cannot be understood.
    """
    if host.address:  # a local host, of which no configuration knows
        return Target(host.address, host.port or 22, host.user or getpass.getuser(), key_name=host.name, agent=False)
    options = _lookup(host)
    key_files = [host.key] if host.key else list(options.get("identityfile", ()))
    jumps = options.get("proxyjump", "none")
    proxy_command = options.get("proxycommand", "none")
    known = options.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    return Target(
        address=options.get("hostname", host.name),
        port=int(options.get("port", 22)),
        user=options.get("user") or getpass.getuser(),
        key_files=tuple(Path(name).expanduser() for name in key_files if name != "none"),
        agent=not host.key and options.get("identitiesonly", "no").lower() != "yes",
        jumps=() if jumps.lower() == "none" else tuple(jump.strip() for jump in jumps.split(",")),
        proxy_command="" if proxy_command.lower() == "none" else proxy_command,
        key_name=options.get("hostkeyalias", ""),
        known_hosts=(*(Path(name).expanduser() for name in shlex.split(known)), _SYSTEM_KNOWN_HOSTS),
    )


def _lookup(host: Host) -> paramiko.SSHConfigDict:
    import paramiko

    # The first value found counts, so what the user gave goes first, and counts for %r and %p in a ProxyCommand too.
    given = {"User": host.user, "Port": host.port or ""}
    text = "Host *\n" + "".join(f"{option} {value}\n" for option, value in given.items() if value)
    user_config = Path.home() / ".ssh" / "config"
    for path in (user_config, _SYSTEM_CONFIG):
        text += "Host *\n" + "\n".join(_with_includes(path, path.parent, _INCLUDE_DEPTH)) + "\n"
    try:
        return paramiko.SSHConfig.from_text(text).lookup(host.name)
    except (paramiko.SSHException, ImportError, ValueError) as error:
        raise UsageError(f"{user_config} cannot be used for {host.name}: {error}") from error


def _with_includes(path: Path, directory: Path, depth: int) -> Iterator[str]:
    """Yield the lines of a configuration file, those of included files in place; paramiko knows no Include."""
    block = "Host *"
    for line in _read(path).splitlines():
        keyword, *arguments = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if keyword.lower() in ("host", "match"):
            block = line
        if keyword.lower() != "include" or not arguments:
            yield line
            continue
        for included in _included(arguments[0], directory) if depth else ():
            yield from _with_includes(included, directory, depth - 1)
            yield block  # what follows belongs to the block that the Include stands in


def _included(patterns: str, directory: Path) -> Iterator[Path]:
    for pattern in shlex.split(patterns):
        path = directory / Path(pattern).expanduser()
        yield from sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
