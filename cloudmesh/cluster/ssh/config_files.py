"""Reads `~/.ssh/config` and the system's file without OpenSSH's help, where its client is not installed.

This knows less than OpenSSH does: of Match it understands what paramiko does, and of comments only whole lines.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from cloudmesh.cluster.core.errors import UsageError

_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_INCLUDE_DEPTH = 8  # how deep Include may be nested; deeper ones are ignored
_DEFAULTS = {
    "identityfile": [f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa")],
    "userknownhostsfile": ["~/.ssh/known_hosts ~/.ssh/known_hosts2"],
    "globalknownhostsfile": ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"],
}


def read(name: str, user: str, port: int) -> dict[str, list[str]]:
    """Return the values of the options that apply to a host, by the options' names in lower case.

    Args:
        name: the host as the user wrote it.
        user: login name that the user chose; empty: none.
        port: that the user chose; 0: none.

    Raises:
        UsageError: a configuration file cannot be read or is malformed.
    """
    import paramiko

    # The first value of an option counts. So the user's choices go first, and also count for %r and %p in ProxyCommand.
    choices = {"User": user, "Port": port or ""}
    text = "Host *\n" + "".join(f"{option} {value}\n" for option, value in choices.items() if value)
    user_config = Path.home() / ".ssh" / "config"
    try:
        for path in (user_config, _SYSTEM_CONFIG):
            text += "Host *\n" + "\n".join(_read_lines(path, path.parent, _INCLUDE_DEPTH)) + "\n"
        options: Mapping[str, str | list[str] | None] = paramiko.SSHConfig.from_text(text).lookup(name)
    except (paramiko.SSHException, ImportError, ValueError, AttributeError, IndexError) as error:
        raise UsageError(f"{user_config} or {_SYSTEM_CONFIG} cannot be used for {name}: {error}") from error
    listed = {
        option: [value] if isinstance(value, str) else list(value or ["none"]) for option, value in options.items()
    }
    return {**_DEFAULTS, **listed}


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
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        yield from sorted(match for match in matches if not match.is_dir())


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
