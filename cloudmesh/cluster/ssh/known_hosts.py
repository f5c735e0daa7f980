"""Known host keys, in OpenSSH's file format: the user's and the system's files are read, our own is also written.

An entry of our file may carry, in its comment, how the host is reached: `name=ALIAS user=USER key=FILE`. It is also the
list of hosts in which clusters are looked for; an entry with the comment `jump` is a host on the way, not one of them.
"""

from __future__ import annotations

import base64
import fcntl
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Host

JUMP = "jump"


@dataclass(frozen=True)
class KnownHost:
    """One line of a known_hosts file.

    Attributes:
        hosts: the pattern list, as it stands in the file.
        key: "TYPE BASE64".
        comment: what follows the key.
        revoked: whether the key must never be accepted.
    """

    hosts: str
    key: str
    comment: str = ""
    revoked: bool = False


def default_path() -> Path:
    """Return where our file is: `cluster/known_hosts` below `$CLOUDMESH_CONFIG_DIR`, else below `~/.cloudmesh`."""
    directory = os.environ.get("CLOUDMESH_CONFIG_DIR")
    return (Path(directory) if directory else Path.home() / ".cloudmesh") / "cluster" / "known_hosts"


def label(name: str, port: int) -> str:
    """Return how a host is written in a known_hosts file: "name", or "[name]:port" where the port is not 22."""
    return name.lower() if port == 22 else f"[{name.lower()}]:{port}"


def fingerprint(key: str) -> str:
    """Return the SHA-256 fingerprint of a key "TYPE BASE64", as OpenSSH shows it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def entries(path: Path) -> Iterator[KnownHost]:
    """Yield the entries of a known_hosts file; none if there is no such file. Lines without sense are passed over.

    Raises:
        ClusterError: the file is there and cannot be read.
    """
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ClusterError(f"{path} cannot be read: {error.strerror}") from error
    for line in text.splitlines():
        if entry := _parse(line):
            yield entry


def lookup(name: str, port: int, paths: Iterable[Path]) -> list[KnownHost]:
    """Return what the files at `paths` say of the host: entries with its keys, and with keys revoked for it."""
    wanted = label(name, port)
    return [entry for path in paths for entry in entries(path) if _matches(entry.hosts, wanted)]


def append(path: Path, name: str, port: int, key: str, comment: str = "") -> None:
    """Add a host's key to the file at `path`; nothing is done if it is there already with this comment.

    Args:
        path: our known_hosts file; it and its directory are made if need be.
        name: DNS name or address.
        port: TCP port of sshd.
        key: "TYPE BASE64".
        comment: see `comment_for`.

    Raises:
        ClusterError: the file cannot be written.
    """
    hosts = label(name, port)
    line = f"{hosts} {key} {comment}".rstrip()
    with _rewriting(path) as lines:
        if line not in lines:
            lines[:] = [old for old in lines if not _same(old, hosts, key)]
            lines.append(line)


def comment_for(host: Host) -> str:
    """Return the comment that keeps how the user reaches `host`."""
    fields = {"name": host.name, "user": host.user, "port": str(host.port or ""), "key": host.key}
    return " ".join(f"{field}={quote(value, safe='/~@:')}" for field, value in fields.items() if value)


def hosts(path: Path | None = None) -> tuple[Host, ...]:
    """Return the hosts in our known_hosts file, in the file's order.

    Raises:
        ClusterError: the file cannot be read.
    """
    found = (_host(entry) for entry in entries(path or default_path()) if entry.comment != JUMP)
    return tuple(dict.fromkeys(host for host in found if host))


def forget(gone: Iterable[Host], path: Path | None = None) -> None:
    """Remove the hosts' entries from our known_hosts file.

    Raises:
        ClusterError: the file cannot be written.
    """
    path = path or default_path()
    if not path.exists():
        return
    names = {_identity(host) for host in gone}
    with _rewriting(path) as lines:
        lines[:] = [line for line in lines if not _names_one_of(line, names)]


def _names_one_of(line: str, names: set[tuple[str, int]]) -> bool:
    entry = _parse(line)
    host = _host(entry) if entry else None
    return host is not None and _identity(host) in names


def _identity(host: Host) -> tuple[str, int]:
    return host.name.lower(), host.port or 22


def _parse(line: str) -> KnownHost | None:
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):
        return None
    return KnownHost(fields[0], f"{fields[1]} {fields[2]}", " ".join(fields[3:]), revoked=bool(marker))


def _host(entry: KnownHost) -> Host | None:
    fields = dict(field.partition("=")[::2] for field in entry.comment.split())
    if name := fields.get("name"):
        user, port, key = (unquote(fields.get(field, "")) for field in ("user", "port", "key"))
        return Host(unquote(name), user=user, port=int(port) if port.isdecimal() else 0, key=key)
    name = entry.hosts.split(",")[0]
    if name.startswith("|") or set(name) & set("*?!"):
        return None
    address, _, digits = name.removeprefix("[").partition("]:") if name.startswith("[") else (name, "", "")
    return Host(address, port=int(digits) if digits.isdecimal() else 0)


def _matches(patterns: str, wanted: str) -> bool:
    if patterns.startswith("|1|"):
        return _hash_matches(patterns, wanted)
    matched = False
    for pattern in patterns.lower().split(","):
        # "[" is literal in known_hosts, and starts a character class in fnmatch
        if fnmatch.fnmatchcase(wanted, pattern.removeprefix("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _hash_matches(pattern: str, wanted: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in pattern.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, wanted.encode(), hashlib.sha1).digest(), digest)


def _same(line: str, hosts: str, key: str) -> bool:
    entry = _parse(line)
    return entry is not None and (entry.hosts, entry.key, entry.revoked) == (hosts, key, False)


@contextmanager
def _rewriting(path: Path) -> Iterator[list[str]]:
    """Give the file's lines, to be changed in place, and write them back whole or not at all; others wait meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_name(path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = path.read_text("utf-8").splitlines() if path.exists() else []
            lines = list(before)
            yield lines
            if lines != before:
                _replace(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise ClusterError(f"{path} cannot be written: {error.strerror}") from error


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
