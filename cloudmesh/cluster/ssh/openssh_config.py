"""Asks OpenSSH's client what its configuration says of a host, and expands what it leaves as it is written."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudmesh.cluster.core.errors import UsageError

_SECONDS = 60.0  # a Match with exec may ask something of a network
# ssh expands the tokens in ControlPath: by this value it tells the meaning of each, and its idea of the home directory.
_TOKENS = "dLluikCn"
_SEPARATOR = "\x1f"
_TOKEN_QUESTION = _SEPARATOR.join(f"%{token}" for token in _TOKENS)
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def program() -> str | None:
    """Return the path of OpenSSH's client; None where it is not installed."""
    path = shutil.which("ssh")
    return path if path and _is_openssh(path) else None


@functools.cache
def _is_openssh(path: str) -> bool:
    """Return whether `ssh` is OpenSSH's: other programs have that name, too, and know none of its options."""
    try:
        outcome = subprocess.run(  # noqa: S603 - a program that the search path leads to
            [path, "-V"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"OpenSSH" in outcome.stderr + outcome.stdout


@functools.cache
def knows(client: str, option: str) -> bool:
    """Return whether `ssh` takes an option, "NAME=VALUE", which others do not know."""
    outcome = subprocess.run(  # noqa: S603 - ssh, with words of ours
        [client, "-G", "-F", "none", "-o", option, "localhost"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    return outcome.returncode == 0


@dataclass(frozen=True)
class Answer:
    """What applies to one host.

    Attributes:
        options: the values of each option, by its name in lower case.
        tokens: the meaning of the letters after "%".
        where: the host, as messages name it.
    """

    options: Mapping[str, list[str]]
    tokens: Mapping[str, str] = field(default_factory=dict)
    where: str = ""

    def expand_path(self, value: str) -> str:
        """Return a file name with its `~`, `~user`, `%` tokens and `${VARIABLE}` replaced.

        Raises:
            UsageError: there is no such user, token or variable.
        """
        if value.startswith("~"):
            user, slash, rest = value[1:].partition("/")
            value = (self._home_of(user) + slash + rest) if user else self.tokens["d"] + slash + rest
        return self.expand_tokens(_VARIABLE.sub(self._read_variable, value))

    def expand_tokens(self, value: str) -> str:
        """Return a value with its `%` tokens replaced; UsageError: there is no such token."""

        def meaning(match: re.Match[str]) -> str:
            if match[1] == "%":
                return "%"
            if match[1] not in self.tokens:
                raise UsageError(f"{self.where}: the SSH configuration has %{match[1]} in {value}, which is no token")
            return self.tokens[match[1]]

        return re.sub(r"%(.?)", meaning, value)

    def _home_of(self, user: str) -> str:
        import pwd

        try:
            return pwd.getpwnam(user).pw_dir
        except KeyError:
            raise UsageError(f"{self.where}: the SSH configuration names ~{user}, and there is no such user") from None

    def _read_variable(self, match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UsageError(f"{self.where}: the SSH configuration names ${{{match[1]}}}, which is not set")
        return os.environ[match[1]].replace("%", "%%")


@functools.lru_cache(maxsize=4096)
def ask(client: str, name: str, user: str = "", port: int = 0) -> Answer:
    """Return what applies to a host. Each host is asked for once in the life of this process.

    Args:
        client: path of `ssh`.
        name: the host as the user wrote it.
        user: login name that the user chose; empty: none.
        port: that the user chose; 0: none.

    Raises:
        UsageError: the configuration is malformed, or a command in it does not end.
    """
    return _parse(name, _run(client, name, user, port, "-o", f"ControlPath={_TOKEN_QUESTION}"))


def ask_control_path(client: str, name: str, user: str = "", port: int = 0) -> str:
    """Return where the socket of a connection would be that the user keeps open to a host; empty: nowhere.

    The arguments and errors are those of `ask`.
    """
    for line in _run(client, name, user, port).split("\n"):
        if line.startswith("controlpath "):
            return line.partition(" ")[2].removesuffix("none")
    return ""


def _run(client: str, name: str, user: str, port: int, *more: str) -> str:
    # With a command, as ours are: Match can tell.
    command = [client, "-G", "-T", "-o", "RemoteCommand=none", *more]
    command += ["-l", user] if user else []
    command += ["-p", str(port)] if port else []
    try:
        outcome = subprocess.run(  # noqa: S603 - ssh, with a name that was checked
            [*command, "--", name, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"{name}: the SSH configuration was not read in {_SECONDS:.0f} s: which command of a Match does not end?"
        ) from None
    except OSError as error:
        raise UsageError(f"{name}: {client} cannot be run: {error.strerror}") from error
    if outcome.returncode:
        raise UsageError(f"{name}: the SSH configuration cannot be used: {_explain(outcome.stderr)}")
    return outcome.stdout.decode("utf-8", "surrogateescape")


def _explain(stderr: bytes) -> str:
    """Return the line that names the file: the first, for the last one only says that ssh gives up."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[0] if lines else "ssh -G says nothing of why"


def _parse(name: str, output: str) -> Answer:
    options: dict[str, list[str]] = {}
    for line in output.split("\n"):
        option, _, value = line.partition(" ")
        options.setdefault(option.lower(), []).append(value)
    meanings = options.pop("controlpath", [""])[0].split(_SEPARATOR)
    tokens = dict(zip(_TOKENS, meanings, strict=False))
    for token, option in (("h", "hostname"), ("p", "port"), ("r", "user")):
        tokens[token] = options[option][0]
    return Answer(options, tokens, name)
