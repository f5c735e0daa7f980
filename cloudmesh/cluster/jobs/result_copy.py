"""Copies what one task has left from its host: asks what there is, and fetches what is not here yet.

`cloudmesh/images/host/results.sh` is the host's side. Neither side holds a whole file in memory, or reads one twice
before it sends it. What arrives gets its name as soon as its checksum has been verified, so that the next run goes on
where this one was interrupted.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import HostError, HostTimeoutError, UnreachableError
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.jobs import result_files, result_tree
from cloudmesh.cluster.jobs.result_files import SEGMENT, LocalError, is_segmented, local_errors, part_of
from cloudmesh.cluster.jobs.result_stream import explain_change, parse_digests, read_exactly, receive, receive_segment
from cloudmesh.cluster.jobs.result_tree import Entry, Tree
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection
    from cloudmesh.cluster.ssh.remote_command import OutputStream

_DIGEST_LINE = 65  # bytes: SHA-256 in hex, and a newline
_BATCH_FILES, _BATCH_BYTES = 1000, 64 << 20
# The host sends a sign of life every few seconds while it computes. This is for a disk that does not answer.
_SILENCE_SECONDS = 300.0
_REPORT_SECONDS = 5.0
_NAMED = 5  # so many of the files that failed are named


@dataclass(frozen=True)
class CopySummary:
    """What was copied.

    Attributes:
        files: how many files and links are here now.
        size: bytes of the files altogether.
        refused: "TASK/NAME: why" of everything that was left out.
    """

    files: int = 0
    size: int = 0
    refused: tuple[str, ...] = ()

    def __add__(self, other: CopySummary) -> CopySummary:
        return CopySummary(self.files + other.files, self.size + other.size, self.refused + other.refused)


@dataclass
class _Meter:
    """Reports every few seconds how much of the bytes to handle has been handled."""

    report: Report
    host: str
    what: str
    total: int
    handled: int = 0
    shown_at: float = field(default_factory=time.monotonic)

    def advance(self, size: int) -> None:
        """Take note of so many more bytes."""
        self.handled += size
        if time.monotonic() - self.shown_at >= _REPORT_SECONDS:
            self.shown_at = time.monotonic()
            self.report.step(self.host, f"{self.what}, {self.handled / 1e6:.0f} of {self.total / 1e6:.0f} MB")


@dataclass
class TaskCopy:
    """One copy of what a task has left.

    Attributes:
        connection: to the host.
        task: its name.
        path: the directory there.
        folder: the folder here.
        report: receives the progress.
        problems: what did not arrive, a line for each file.
    """

    connection: Connection
    task: str
    path: str
    folder: Path
    report: Report
    problems: list[str] = field(default_factory=list)

    def run(self) -> CopySummary:
        """Copy everything that is not here yet.

        Raises:
            HostError: a file here is in the way, and nothing was copied; or some did not arrive, and all others did.
        """
        host = str(self.connection.host)
        self.report.step(host, f"results of {self.task}")
        try:
            tree = self._list()
            missing, digests = self._find_missing(tree)
            summary = self._copy(tree, missing, digests)
        except (LocalError, ValueError) as error:
            raise HostError(host, f"results of {self.task}: {error}") from error
        except (UnreachableError, HostTimeoutError) as error:
            raise type(error)(error.host, f"{error.cause}; what has arrived stays: get the results again") from error
        if self.problems:
            more = f", and {len(self.problems) - _NAMED} more" if len(self.problems) > _NAMED else ""
            raise HostError(host, f"results of {self.task}: {'; '.join(self.problems[:_NAMED])}{more}; get them again")
        return summary

    def _copy(self, tree: Tree, missing: Sequence[Entry], digests: Mapping[str, Sequence[str]]) -> CopySummary:
        for entry in tree.folders:
            result_files.make_folder(self._here(entry))
        meter = self._meter("", sum(entry.size for entry in missing))
        packed = [entry for entry in missing if not is_segmented(entry)]
        if packed:
            self._fetch_packed(packed, meter)
        for entry in missing:
            if is_segmented(entry):
                self._fetch_segments(entry, digests.get(entry.name, ()), meter)
        for entry, first in tree.hard_links:
            self._link_file(entry, first)
        for entry in tree.links:
            self._make_link(entry)
        for entry in reversed(tree.folders):
            with local_errors(self._here(entry)):
                self._here(entry).chmod(entry.permissions)
        names = [*tree.files, *(entry for entry, _ in tree.hard_links)]
        refused = tuple(f"{self.task}/{name}: {why}" for name, why in tree.refused.items())
        return CopySummary(len(names) + len(tree.links), sum(entry.size for entry in names), refused)

    def _list(self) -> Tree:
        with self._script("list") as stream:
            return result_tree.classify(result_tree.parse_listing(stream.readall() or b""))

    # --- what is here already ----------------------------------------------------------------------------------------

    def _find_missing(self, tree: Tree) -> tuple[list[Entry], dict[str, list[str]]]:
        """Return the files that are not here yet, and what digests the host has told of them.

        Raises:
            LocalError: something else is here under the name of one of them, or a link is on the way to it.
        """
        names = [*tree.files, *(entry for entry, _ in tree.hard_links)]
        for entry in (*tree.folders, *names, *tree.links):
            self._refuse_what_is_in_the_way(entry)
        present = {entry.name: entry for entry in names if os.path.lexists(self._here(entry))}
        missing = [entry for entry in tree.files if entry.name not in present]
        asked = [*present.values(), *filter(self._begun, missing)]
        if not asked:
            return missing, {}
        meter = self._meter("compared with what is here", sum(entry.size for entry in present.values()))
        with self._script("digests", _name_files(asked)) as stream:
            # The host computes meanwhile.
            here = {
                name: result_files.digests_of(self._here(entry), entry, meter.advance)
                for name, entry in present.items()
            }
            there = parse_digests(stream.readall() or b"")
        for name, entry in present.items():
            if here[name] != there.get(name):
                raise self._in_the_way(entry)
        return missing, there

    def _refuse_what_is_in_the_way(self, entry: Entry) -> None:
        path = self._here(entry)
        result_files.refuse_links(self.folder, path.parent if entry.kind == "l" else path)
        if not os.path.lexists(path):
            return
        if entry.kind == "l":
            is_same = path.is_symlink() and os.readlink(path) == entry.target  # noqa: PTH115 - pathlib would tidy it
        elif entry.kind == "d":
            is_same = path.is_dir()
        else:
            is_same = path.is_file() and path.stat().st_size == entry.size
        if not is_same:
            raise self._in_the_way(entry)

    def _in_the_way(self, entry: Entry) -> LocalError:
        return LocalError(
            f"{self._here(entry)} is there already and is something else: move it away, or name another folder"
        )

    def _begun(self, entry: Entry) -> int:
        """Return how many whole segments of a large file an earlier run has left."""
        size = result_files.has_bytes(part_of(self._here(entry))) if is_segmented(entry) else 0
        return min(size, entry.size) // SEGMENT

    # --- what is fetched ---------------------------------------------------------------------------------------------

    def _fetch_packed(self, entries: Sequence[Entry], meter: _Meter) -> None:
        """Fetch files in archives, each with the digests of its files behind it.

        Raises:
            ValueError: an archive is damaged.
        """
        files = {
            f"batches/{number:06}": _terminated(batch)
            for number, batch in enumerate(result_tree.batches(entries, _BATCH_FILES, _BATCH_BYTES))
        }
        waiting = {entry.name: entry for entry in entries}
        damage = ""
        with self._script("pack", files) as stream:
            try:
                # tarfile calls nothing but `read`
                self.problems += receive(stream, self.folder, waiting, meter.advance)  # type: ignore[arg-type]
            except tarfile.TarError as error:
                damage = f"cut short or damaged: {error}"  # the script's exit may tell more: see below
                stream.readall()
        if damage:
            raise ValueError(damage)
        self.problems += [f"{name!a} did not arrive: was it removed meanwhile?" for name in waiting]

    def _fetch_segments(self, entry: Entry, there: Sequence[str], meter: _Meter) -> None:
        """Fetch a large file, from the first segment on that is not here.

        Args:
            entry: the file.
            there: digests of the host's segments, where some of the file is here already.
            meter: is told of what arrives.
        """
        path = self._here(entry)
        part = part_of(path)
        here = result_files.digests_of(part, entry, lambda _: None)[: self._begun(entry)] if there else []
        same = next((at for at, digest in enumerate(here) if [digest] != there[at : at + 1]), len(here))
        offset = same * SEGMENT
        meter.advance(offset)
        files = {
            "name": _encode(entry),
            "offset": b"%d" % offset,
            "length": b"%d" % (entry.size - offset),
            "segment": b"%d" % SEGMENT,
        }
        with result_files.open_part(part, offset) as file, self._script("read", files) as stream:
            for at in range(offset, entry.size, SEGMENT):
                digest = receive_segment(stream, file, min(SEGMENT, entry.size - at), part, meter.advance)
                if read_exactly(stream, _DIGEST_LINE) != f"{digest}\n".encode():
                    with local_errors(part):
                        file.truncate(at)
                    self.problems.append(explain_change(entry.name))
                    stream.readall()
                    return  # where the connection was cut, leaving the stream raises that
            with local_errors(part):
                file.flush()
        result_files.finish(part, path, entry)

    def _link_file(self, entry: Entry, first: Entry) -> None:
        path, source = self._here(entry), self._here(first)
        if path.exists() or not source.exists():
            return
        with local_errors(path):
            try:
                os.link(source, path)
            except OSError:  # a file system without hard links
                shutil.copy2(source, path)

    def _make_link(self, entry: Entry) -> None:
        path = self._here(entry)
        if not path.is_symlink():
            with local_errors(path):
                path.symlink_to(entry.target)

    def _here(self, entry: Entry) -> Path:
        return self.folder / entry.name

    def _meter(self, what: str, total: int) -> _Meter:
        said = f"results of {self.task}{f', {what}' if what else ''}"
        return _Meter(self.report, str(self.connection.host), said, total)

    def _script(self, verb: str, files: Mapping[str, bytes] | None = None) -> AbstractContextManager[OutputStream]:
        inputs = {"path": self.path.encode(), **(files or {})}
        body = host_script.load("host/results.sh")
        return self.connection.stream(body, verb, files=inputs, silence=_SILENCE_SECONDS)


def _name_files(entries: Sequence[Entry]) -> dict[str, bytes]:
    """Return the inputs of `results.sh digests`."""
    large = (b"%d\0%s\0" % (entry.size, _encode(entry)) for entry in entries if is_segmented(entry))
    return {
        "names": _terminated([entry for entry in entries if not is_segmented(entry)]),
        "large": b"".join(large),
        "segment": b"%d" % SEGMENT,
    }


def _terminated(entries: Sequence[Entry]) -> bytes:
    return b"".join(_encode(entry) + b"\0" for entry in entries)


def _encode(entry: Entry) -> bytes:
    return os.fsencode(f"./{entry.name}")
