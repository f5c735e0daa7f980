"""The file of a backup: what is in it, and how a file that is damaged, cut off or another thing is told.

    cloudmesh-cluster-backup 1 KIND SIZE SHA256
    the rest, of SIZE bytes: a tar archive, compressed by gzip, encrypted by age unless KIND is "plain":
        manifest.json    which cluster, of which version and when; the checksums of the other files
        secrets.json     what the cluster's servers have in their file of that name
        snapshot         the engine's state, as its own tools write it

By hand: `tail -n +2 FILE | age --decrypt | tar xz`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmesh.cluster.core import archive
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
from cloudmesh.cluster.core.encryption import KEY, PASSPHRASE, PLAIN, Lock, Opener
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.providers.base import Snapshot

_MAGIC = b"cloudmesh-cluster-backup "
_VERSION = 1
_HEADER = re.compile(rb"(?P<kind>[a-z]+) (?P<size>\d+) (?P<sha256>[0-9a-f]{64})")
_HEADER_SIZE = 200  # bytes; no header is longer
_MANIFEST, _SECRETS, _SNAPSHOT = "manifest.json", "secrets.json", "snapshot"


@dataclass(frozen=True)
class Backup:
    """All that a cluster is, but for what its hosts hold.

    Attributes:
        cluster: its name.
        id: tells it from another of the same name.
        provider: its kind.
        version: of the engine.
        generation: how often its servers had changed.
        hosts: as the engine and the markers knew them, for a reader: name, node, address and role of each.
        barred: addresses of hosts that were taken out and are kept out.
        secrets: that its servers hold.
        snapshot: the engine's state.
    """

    cluster: str
    id: str
    provider: str
    version: str
    generation: int
    hosts: tuple[Mapping[str, str], ...]
    barred: tuple[str, ...]
    secrets: ClusterSecrets
    snapshot: Snapshot

    @property
    def digest(self) -> str:
        """What tells this backup from any other."""
        return hashlib.sha256(self._manifest(self._files())).hexdigest()

    def pack(self) -> bytes:
        """Return the archive."""
        files = self._files()
        content = {_MANIFEST: self._manifest(files), **files}
        return gzip.compress(archive.pack({name: (data, 0o600) for name, data in content.items()}), mtime=0)

    def _files(self) -> dict[str, bytes]:
        return {_SECRETS: self.secrets.dumps(), _SNAPSHOT: self.snapshot.data}

    def _manifest(self, files: Mapping[str, bytes]) -> bytes:
        fields = {
            "cluster": self.cluster,
            "id": self.id,
            "provider": self.provider,
            "version": self.version,
            "generation": self.generation,
            "hosts": list(self.hosts),
            "barred": list(self.barred),
            "taken": self.snapshot.taken,
            "taken_names": list(self.snapshot.taken_names),
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        return json.dumps(fields, indent=2).encode()


def check_new(path: Path, *, overwrite: bool) -> None:
    """Refuse a path at which there is something, unless it may be written over.

    Raises:
        UsageError: there is, or no file can be there.
    """
    shown = ascii(str(path))[1:-1]
    if path.is_dir():
        raise UsageError(f"{shown} is a directory: name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"{shown} cannot be written: there is no directory {ascii(str(path.parent))[1:-1]}")
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"{shown} exists already: choose another name, or have it written over by --yes")


def write(path: Path, backup: Backup, lock: Lock, *, overwrite: bool) -> None:
    """Write a backup into a file that its owner alone may read; all of it, or none.

    Args:
        path: where.
        backup: what.
        lock: by what it is encrypted.
        overwrite: whether a file that is there already is replaced, once the new one is complete.

    Raises:
        UsageError: there is something already, and it is not to be written over.
        ClusterError: the file cannot be written.
    """
    body = lock.close(backup.pack())
    header = f"{_VERSION} {lock.kind} {len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()
    try:
        check_new(path, overwrite=overwrite)
        descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")  # with mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines((_MAGIC, header, body))
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                Path(new).replace(path)
            else:
                os.link(new, path)  # which, unlike a renaming, never replaces anything
        finally:
            Path(new).unlink(missing_ok=True)
    except FileExistsError:
        check_new(path, overwrite=False)
        raise
    except OSError as error:
        raise ClusterError(f"{ascii(str(path))[1:-1]} cannot be written: {error.strerror or error}") from error


def read(path: Path, opener: Opener) -> Backup:
    """Return the backup in a file.

    Raises:
        UsageError: the file is not there or no backup, or it takes a passphrase or key of which there is none.
        ClusterError: it was cut off or is damaged, or the passphrase or key is another; which of these is said.
    """
    shown = ascii(str(path))[1:-1]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror or error}") from error
    try:
        kind, body = _check(data)
        content = _unpack(opener.open(body, kind))
    except ClusterError as error:
        raise type(error)(f"{shown}: {error}") from error
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ClusterError(f"{shown}: it is damaged ({error}): take another copy or an older backup") from error


def _check(data: bytes) -> tuple[str, bytes]:
    """Return by what a backup's file is encrypted, and the rest of it, which is whole."""
    if not data.startswith(_MAGIC):
        raise UsageError("it is no backup of a cluster")
    first, newline, _ = data[:_HEADER_SIZE].partition(b"\n")
    version, _, rest = first[len(_MAGIC) :].partition(b" ")
    if newline and version.isdigit() and int(version) > _VERSION:
        raise UsageError("a later version of cms cluster wrote it: use that one")
    header = _HEADER.fullmatch(rest)
    if not newline or not header or header["kind"].decode() not in (PLAIN, PASSPHRASE, KEY):
        raise ClusterError("its first line is damaged or cut off: take another copy")
    body, size = data[len(first) + 1 :], int(header["size"])
    if len(body) < size:
        raise ClusterError(f"it was cut off: {len(body)} of {size} bytes are there: take another copy")
    if len(body) > size or hashlib.sha256(body).hexdigest().encode() != header["sha256"]:
        raise ClusterError("it is damaged, its checksum is wrong: take another copy")
    return header["kind"].decode(), body


def _unpack(data: bytes) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
            members = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            return {name: file.read() for name, file in members.items() if file}
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ClusterError(f"it is damaged: there is no archive in it ({error}): take another copy") from error


def _parse(content: Mapping[str, bytes]) -> Backup:
    fields: dict[str, Any] = json.loads(content[_MANIFEST])
    for name, digest in fields["files"].items():
        if hashlib.sha256(content[name]).hexdigest() != digest:
            raise ValueError(f"the checksum of {name} is wrong")
    return Backup(
        cluster=fields["cluster"],
        id=fields["id"],
        provider=fields["provider"],
        version=fields["version"],
        generation=fields["generation"],
        hosts=tuple(fields["hosts"]),
        barred=tuple(fields["barred"]),
        secrets=ClusterSecrets.loads(content[_SECRETS]),
        snapshot=Snapshot(content[_SNAPSHOT], fields["taken"], tuple(fields["taken_names"])),
    )
