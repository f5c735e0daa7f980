"""Files that arrive on the operator's machine: under a temporary name until they are complete and verified."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cloudmesh.cluster.jobs.result_tree import Entry

BLOCK = 1 << 18
# Larger files are verified segment by segment, so that one that was interrupted goes on where it was.
SEGMENT = 64 << 20

Advance = Callable[[int], None]
"""Is told how many more bytes have been handled."""


class LocalError(Exception):
    """A file on this machine is in the way, or cannot be written; the message says which one and why."""


@contextmanager
def local_errors(path: Path) -> Iterator[None]:
    """Turn errors of this machine's disk into a LocalError; errors of the connection to the host pass through."""
    try:
        yield
    except (TimeoutError, ConnectionError):
        raise
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror or error}") from error


def refuse_links(folder: Path, path: Path) -> None:
    """Raise LocalError where `path`, or a folder on the way from `folder` to it, is a link."""
    for ancestor in (path, *path.parents):
        if ancestor == folder.parent:
            return
        if ancestor.is_symlink():
            raise LocalError(f"{ancestor} is a link: move it away, or name another folder")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        LocalError: it cannot be made.
    """
    with local_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def is_segmented(entry: Entry) -> bool:
    """Return whether a file is sent and verified in segments: a large one, unless it has holes, which would be sent."""
    return entry.size > SEGMENT and not entry.is_sparse


def part_of(path: Path) -> Path:
    """Return the temporary name of a file; the same each time, so that the next run finds what an earlier one left."""
    return path.with_name(f".cms-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")


def digests_of(path: Path, entry: Entry, advance: Advance) -> list[str]:
    """Return the SHA-256 of a file that is here, or of each segment of one that is verified in segments.

    Raises:
        LocalError: it cannot be read.
    """
    segment = SEGMENT if is_segmented(entry) else entry.size + 1
    digests: list[str] = []
    with local_errors(path), path.open("rb") as file:
        while True:
            digest, left = hashlib.sha256(), segment
            while left and (block := file.read(min(BLOCK, left))):
                digest.update(block)
                left -= len(block)
                advance(len(block))
            if left < segment or not digests:
                digests.append(digest.hexdigest())
            if left:
                return digests


@contextmanager
def open_part(part: Path, size: int) -> Iterator[IO[bytes]]:
    """Open a temporary file behind its first `size` bytes; what else an earlier run has left in it is cut off.

    Raises:
        LocalError: it cannot be opened, or another process writes to it now.
    """
    make_folder(part.parent)
    with local_errors(part):
        if part.is_symlink():
            part.unlink()
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        with local_errors(part):
            _lock(file, part)
            file.truncate(size)
            file.seek(size)
        yield file


def _lock(file: IO[bytes], part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LocalError(f"{part.parent} is being written to by another `get`: wait for its end") from error
    except OSError:  # a file system without locks
        return


def write_part(data: IO[bytes], part: Path, *, has_holes: bool, advance: Advance) -> str:
    """Write a temporary file from its beginning; return its SHA-256.

    Args:
        data: is read to its end.
        part: the file.
        has_holes: whether blocks of zeros are left as holes.
        advance: is told of each block.

    Raises:
        LocalError: it cannot be written.
    """
    digest = hashlib.sha256()
    with open_part(part, 0) as file:
        while block := data.read(BLOCK):
            digest.update(block)
            with local_errors(part):
                if has_holes and not block.strip(b"\0"):
                    file.truncate(file.seek(len(block), os.SEEK_CUR))
                else:
                    file.write(block)
            advance(len(block))
        with local_errors(part):
            file.flush()
    return digest.hexdigest()


def finish(part: Path, path: Path, entry: Entry) -> None:
    """Give a complete file its name, permissions and time.

    Raises:
        LocalError: it cannot be done.
    """
    with local_errors(path):
        part.chmod(entry.permissions)
        os.utime(part, ns=(entry.modified, entry.modified))
        part.replace(path)


def has_bytes(path: Path) -> int:
    """Return the size of a regular file; 0 where there is none of that name."""
    try:
        return path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
    except OSError:
        return 0
