"""Known host keys, in OpenSSH's file format.

The known_hosts files of the user and of the system are only read. Cloudmesh's own file, called "our file" here, is also
written. The comment of an entry of our file may say how the host is reached: `name=ALIAS user=USER port=PORT
key=FILE`. Our file is also the list of hosts on which clusters are looked for, except for entries with the comment
`jump`, which are jump hosts, and those whose comment begins with `gone`: of hosts that left their cluster, only the
key and how they are reached stay known.
"""

from __future__ import annotations

import base64
import fcntl
import fnmatch
import functools
import hashlib
import hmac
import os
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Host

JUMP, _GONE = "jump", "gone"
_MARKERS = ("", "@revoked", "@cert-authority")


@dataclass(frozen=True)
class KnownHost:
    """One line of a known_hosts file.

    Attributes:
        hosts: the list of host name patterns, as written in the file.
        key: the key, "TYPE BASE64".
        comment: the text after the key.
        revoked: whether the key must never be accepted.
        authority: whether the key signs the keys of hosts, and is no host's own.
        optional: whether the host may have another key without that being a change.
    """

    hosts: str
    key: str
    comment: str = ""
    revoked: bool = False
    authority: bool = False
    optional: bool = False


def default_path() -> Path:
    """Return the path of our file: `cluster/known_hosts` in `$CLOUDMESH_CONFIG_DIR`, else in `~/.cloudmesh`."""
    directory = os.environ.get("CLOUDMESH_CONFIG_DIR")
    return (Path(directory) if directory else Path.home() / ".cloudmesh") / "cluster" / "known_hosts"


def label(name: str, port: int) -> str:
    """Return a host as known_hosts files name it: "name", or "[name]:port" where the port is not 22."""
    return name.lower() if port == 22 else f"[{name.lower()}]:{port}"


def fingerprint(key: str) -> str:
    """Return the SHA-256 fingerprint of a key "TYPE BASE64", as OpenSSH shows it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def entries(path: Path) -> tuple[KnownHost, ...]:
    """Return the entries of a known_hosts file; none if it does not exist. Lines in another format are skipped.

    Raises:
        ClusterError: the file exists and cannot be read.
    """
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ClusterError(f"{path} cannot be read: {error.strerror}") from error
    return _parse(text)


@functools.lru_cache(maxsize=8)  # for each of hundreds of hosts the same few files are looked into
def _parse(text: str) -> tuple[KnownHost, ...]:
    return tuple(entry for line in _split_lines(text) if (entry := _parse_line(line)))


def select(among: Iterable[KnownHost], name: str, port: int) -> list[KnownHost]:
    """Return those entries that are for a host: of its keys, of revoked keys, and of authorities.

    As with OpenSSH, entries whose key cannot be read do not count.
    """
    host = label(name, port)
    return [entry for entry in among if _matches(entry.hosts, host) and _is_key(entry.key)]


def append(path: Path, name: str, port: int, key: str, comment: str = "") -> None:
    """Add a host's key to the file at `path`, or replace the comment of the key if the file has it already.

    Args:
        path: our known_hosts file; it and its directory are created if they do not exist.
        name: DNS name or address of the host.
        port: TCP port of sshd.
        key: the key, "TYPE BASE64".
        comment: see `comment_for`.

    Raises:
        ClusterError: the file cannot be written.
    """
    hosts = label(name, port)
    line = f"{hosts} {key} {comment}".rstrip()
    with _rewrite_lines(path) as lines:
        if line not in lines:
            lines[:] = [old for old in lines if not _is_entry_of(old, hosts, key)]
            lines.append(line)


def forget(path: Path, name: str, port: int) -> None:
    """Look for clusters on a host no more; its key and how it is reached stay in the file at `path`.

    Args:
        path: our known_hosts file.
        name: DNS name or address of the host, as for `append`.
        port: TCP port of sshd.

    Raises:
        ClusterError: the file cannot be written.
    """
    hosts = label(name, port)
    if not any(entry.hosts == hosts and _is_candidate(entry) for entry in entries(path)):
        return
    with _rewrite_lines(path) as lines:
        for at, line in enumerate(lines):
            entry = _parse_line(line)
            if entry and entry.hosts == hosts and _is_candidate(entry):
                lines[at] = f"{hosts} {entry.key} {_GONE} {entry.comment}".rstrip()


def complete(hosts: Iterable[Host], path: Path | None = None) -> tuple[Host, ...]:
    """Return hosts with the user, port and key file by which they were reached before, where they have none themselves.

    Args:
        hosts: as the user named them now.
        path: our file; None: its default path.

    Raises:
        ClusterError: the file cannot be read.
    """
    remembered = [(entry.hosts, host) for entry in entries(path or default_path()) if (host := _parse_host(entry))]
    return tuple(_complete(host, remembered) for host in hosts)


def _complete(host: Host, remembered: Iterable[tuple[str, Host]]) -> Host:
    hosts = label(host.name, host.port or 22)
    for reached_by, known in remembered:
        is_port_of_it = not host.port or not known.port or host.port == known.port
        if reached_by == hosts or (known.name == host.name and is_port_of_it):
            return replace(host, user=host.user or known.user, port=host.port or known.port, key=host.key or known.key)
    return host


def comment_for(host: Host) -> str:
    """Return a comment that says how the user reaches `host`, from which `hosts` makes the host again."""
    key = str(Path(host.key).expanduser().absolute()) if host.key else ""
    fields = {"name": host.name, "user": host.user, "port": str(host.port or ""), "key": key}
    return " ".join(f"{field}={quote(value, safe='/~@:')}" for field, value in fields.items() if value)


def hosts(path: Path | None = None) -> tuple[Host, ...]:
    """Return the hosts in our known_hosts file on which clusters are looked for, in the file's order.

    Args:
        path: our file; None: its default path.

    Raises:
        ClusterError: the file cannot be read.
    """
    entry_hosts = (_parse_host(entry) for entry in entries(path or default_path()) if _is_candidate(entry))
    return tuple(dict.fromkeys(host for host in entry_hosts if host))


def _is_candidate(entry: KnownHost) -> bool:
    """Whether clusters are looked for on the host of an entry."""
    return not entry.revoked and entry.comment != JUMP and entry.comment.split(" ")[0] != _GONE


def _split_lines(text: str) -> list[str]:
    """Return lines as OpenSSH splits them: other programs end lines at more characters than the newline."""
    *lines, rest = text.split("\n")
    return [*lines, rest] if rest else lines


def _parse_line(line: str) -> KnownHost | None:
    fields = re.split("[ \t]+", line.strip(" \t\r"))
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3 or fields[0].startswith("#") or marker not in _MARKERS:
        return None
    return KnownHost(
        fields[0],
        f"{fields[1]} {fields[2]}",
        " ".join(fields[3:]),
        revoked=marker == "@revoked",
        authority=marker == "@cert-authority",
    )


def _is_key(key: str) -> bool:
    """Return whether a key, "TYPE BASE64", is of the type that it says."""
    kind, _, data = key.partition(" ")
    try:
        blob = base64.b64decode(data)
    except ValueError:
        return False
    return base64.b64encode(blob).decode() == data and blob.startswith(struct.pack(">I", len(kind)) + kind.encode())


def _parse_host(entry: KnownHost) -> Host | None:
    """Return the host that an entry is for; None if it is a jump host, or has a pattern or a hash instead of a name."""
    if entry.comment == JUMP or entry.authority:
        return None
    fields = dict(field.partition("=")[::2] for field in entry.comment.split())
    if name := fields.get("name"):
        user, port, key = (unquote(fields.get(field, "")) for field in ("user", "port", "key"))
        return Host(unquote(name), user=user, port=int(port) if port.isdecimal() else 0, key=key)
    name = entry.hosts.split(",")[0]
    if name.startswith("|") or set(name) & set("*?!"):
        return None
    address, _, digits = name.removeprefix("[").partition("]:") if name.startswith("[") else (name, "", "")
    return Host(address, port=int(digits) if digits.isdecimal() else 0)


def _matches(patterns: str, host: str) -> bool:
    """Whether a list of patterns, or a hashed name, of a known_hosts file matches the host called `host` there."""
    if patterns.startswith("|1|"):
        return _matches_hash(patterns, host)
    matched = False
    for pattern in patterns.lower().split(","):
        if _matches_pattern(pattern.removeprefix("!"), host):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _matches_pattern(pattern: str, host: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == host
    # "[" has no special meaning in known_hosts, but starts a character class in fnmatch.
    return fnmatch.fnmatchcase(host, pattern.replace("[", "[[]"))


def _matches_hash(pattern: str, host: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in pattern.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, host.encode(), hashlib.sha1).digest(), digest)


def _is_entry_of(line: str, hosts: str, key: str) -> bool:
    entry = _parse_line(line)
    return entry is not None and entry == KnownHost(hosts, key, entry.comment)


@contextmanager
def _rewrite_lines(path: Path) -> Iterator[list[str]]:
    """Yield the file's lines, for the block to change in place; then write them back, either all or nothing.

    Other processes that rewrite the file wait until the block has ended.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_name(path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = _split_lines(path.read_text("utf-8", "surrogateescape")) if path.exists() else []
            lines = list(before)
            yield lines
            if lines != before:
                _replace_file(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise ClusterError(f"{path} cannot be written: {error.strerror}") from error


def _replace_file(path: Path, text: str) -> None:
    """Write `text` into a new file and rename it to `path`, so that readers see the old or the new content."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
