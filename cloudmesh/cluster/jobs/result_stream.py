"""Reads what `cloudmesh/images/host/results.sh` sends, and writes the files in it as they arrive."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cloudmesh.cluster.jobs import result_files
from cloudmesh.cluster.jobs.result_files import BLOCK, Advance, local_errors, part_of
from cloudmesh.cluster.jobs.result_tree import Entry

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.remote_command import OutputStream

_CHECKSUMS = "cms-checksums"
_MAX_CHECKSUMS = 1 << 26


def receive(stream: IO[bytes], folder: Path, waiting: dict[str, Entry], advance: Advance) -> list[str]:
    """Write the files of the archives that arrive in `stream` into `folder`.

    Args:
        stream: what `results.sh pack` sends.
        folder: of the task.
        waiting: the files to write, by name; those that arrive are taken away. No others are written.
        advance: is told how many bytes have arrived.

    Returns:
        A line for each file that has another checksum.

    Raises:
        tarfile.TarError: the archive is cut short or damaged.
        LocalError: a file cannot be written.
    """
    arrived: dict[str, str] = {}  # digests of the files since the last checksums
    problems = []
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK, ignore_zeros=True) as archive:
            for member, data in _iterate_files(archive):
                # GNU tar names a file with holes twice, and tarfile believes the second name, which is made up.
                name = member.pax_headers.get("GNU.sparse.name", member.name).removeprefix("./")
                if member.name == _CHECKSUMS:
                    expected = parse_digests(data.read(min(member.size, _MAX_CHECKSUMS)))
                    for name, digest in arrived.items():
                        if [digest] == expected.get(name):
                            path, entry = folder / name, waiting.pop(name)
                            result_files.finish(part_of(path), path, entry)
                        elif name in expected:
                            problems.append(explain_change(name))
                            del waiting[name]
                            part_of(folder / name).unlink(missing_ok=True)
                    arrived.clear()
                elif name in waiting:
                    arrived[name] = ""
                    part, has_holes = part_of(folder / name), member.issparse()
                    arrived[name] = result_files.write_part(data, part, has_holes=has_holes, advance=advance)
    finally:
        for name in arrived:
            part_of(folder / name).unlink(missing_ok=True)
    return problems


def _iterate_files(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # otherwise tarfile remembers all members
        if member.isreg() and (data := archive.extractfile(member)):
            yield member, data


def receive_segment(stream: OutputStream, file: IO[bytes], size: int, part: Path, advance: Advance) -> str:
    """Write so many bytes of a stream, or fewer where it ends; return their SHA-256."""
    digest = hashlib.sha256()
    while size and (block := stream.read(min(BLOCK, size))):
        digest.update(block)
        with local_errors(part):
            file.write(block)
        size -= len(block)
        advance(len(block))
    return digest.hexdigest()


def read_exactly(stream: OutputStream, size: int) -> bytes:
    """Return so many bytes of a stream, or fewer where it ends."""
    data = b""
    while len(data) < size and (block := stream.read(size - len(data))):
        data += block
    return data


def parse_digests(text: bytes) -> dict[str, list[str]]:
    """Return the digests in the output of `results.sh digests`, or of `sha256sum --zero`, by the names of the files."""
    digests = {}
    for record in text.split(b"\0"):
        if record:
            words, _, name = record.partition(b"  ")
            digests[os.fsdecode(name).removeprefix("./")] = words.decode("ascii", "replace").split()
    return digests


def explain_change(name: str) -> str:
    """Return what is said of a file that did not arrive as it was."""
    return f"{name!a} has another checksum than on its host: was it being written to?"
