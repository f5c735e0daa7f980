"""What jobs have left in their results directories, brought from the hosts that ran them and compared on arrival.

A host sends a tar archive whose first file lists the SHA-256 of all others (`cloudmesh/images/host/results.sh`). It is
written as it comes: neither side holds a file in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, connection_to, hosts_of
from cloudmesh.cluster.providers.base import ResultLocation
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


_CHECKSUMS = "cms-checksums"
_MAX_CHECKSUMS = 1 << 28
_BLOCK = 1 << 18
_SILENCE = 600.0  # a slow disk reads everything once before the first byte is sent


@dataclass(frozen=True)
class CopySummary:
    """What was brought: how many files, and how many bytes they have."""

    files: int = 0
    size: int = 0

    def __add__(self, other: CopySummary) -> CopySummary:
        return CopySummary(self.files + other.files, self.size + other.size)


def fetch(
    context: Context, membership: DiscoveredCluster, found: Sequence[ResultLocation], target: Path
) -> CopySummary:
    """Bring the results of a job's tasks into `target`, each task's into a folder of its name.

    A file that is there already with the same content is as good as brought, so that a run that was cut off is finished
    by the next. None ever has its name before all of it is there and its checksum is right.

    Args:
        context: the operator's side.
        membership: the cluster.
        found: where the tasks have left them.
        target: a folder; it is made when there is something to bring.

    Raises:
        HostsError: some hosts could not be reached, or their files were not the same on arrival, or a file that is here
            already has another content; what the other hosts have is here.
    """
    placed, silent = locate_results(context, membership, found)
    by_node = defaultdict(list)
    for each in placed:
        by_node[each.node].append(each)
    hosts = hosts_of(list(by_node), membership, context)
    with ExitStack() as stack:

        def bring(host: Host) -> CopySummary:
            connection = connection_to(host, membership, context, stack)
            tasks = by_node[hosts[host]]
            brought = sum((_bring(connection, each, target, context.report) for each in tasks), CopySummary())
            context.report.done(str(host), f"{brought.files} files")
            return brought

        outcomes = parallel.run_on_hosts(bring, {host: host for host in hosts})
    if failures := {**silent, **outcomes.failures}:
        raise HostsError(failures)
    return sum(outcomes.values.values(), CopySummary())


def _bring(connection: Connection, results: ResultLocation, target: Path, report: Report) -> CopySummary:
    """Bring what one task has left."""
    host = str(connection.host)
    if not NAME.fullmatch(results.task):
        raise HostError(host, f"the engine calls a task {results.task[:60]!a}, which is no name for a folder")
    report.step(host, f"results of {results.task}")
    body, inputs = host_script.load("host/results.sh"), {"path": results.path.encode()}
    flaw = ""
    with connection.stream(body, files=inputs, silence=_SILENCE) as stream:
        try:
            return receive(stream, target / results.task)  # type: ignore[arg-type]  # tarfile reads, and no more
        except tarfile.TarError as error:
            flaw = f"cut short or damaged: {error}"  # how the script ends may tell more
            stream.readall()
        except (_LocalError, ValueError) as error:
            raise HostError(host, f"results of {results.task}: {error}") from error
    raise HostError(host, f"results of {results.task}: {flaw}")


class _LocalError(Exception):
    """Something about a file on this machine, in words."""


def receive(stream: IO[bytes], folder: Path) -> CopySummary:
    """Write the archive that comes in `stream` into `folder`.

    Raises:
        tarfile.TarError, ValueError: it is not what the host's script sends, or a file was changed on its way.
    """
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as archive:
        first = archive.next()
        content = archive.extractfile(first) if first and first.name == _CHECKSUMS else None
        if first is None or content is None or first.size > _MAX_CHECKSUMS:
            raise ValueError("the list of files is missing")
        expected = _checksums(content.read())
        wanted = _wanted(folder, expected)
        brought = CopySummary(len(expected))
        for member in _members(archive):
            place = folder / _safe(member.name)
            if member.isdir():
                _make(place)
            elif member.isreg():
                brought += CopySummary(0, member.size)
                digest = expected.pop(member.name, None)
                if digest is None:
                    continue  # it was made after the list
                if member.name in wanted and (data := archive.extractfile(member)):
                    _write(data, place, digest)
        if expected:
            raise ValueError(f"{next(iter(expected))} did not arrive: was it removed meanwhile?")
        return brought


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # else it remembers each
        yield member


def _checksums(text: bytes) -> dict[str, str]:
    """Return the SHA-256 by file as `sha256sum --zero` writes them."""
    found = {}
    for line in text.split(b"\0"):
        if line:
            digest, _, name = line.partition(b"  ")
            found[os.fsdecode(name)] = digest.decode("ascii")
    return found


def _safe(name: str) -> Path:
    """Return the path below the folder that a name in an archive stands for.

    Raises:
        ValueError: it would lead out of it.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"the name {name[:60]!a} leads out of the folder")
    return path


def _wanted(folder: Path, expected: Mapping[str, str]) -> set[str]:
    """Return the files that are not here yet.

    Raises:
        _LocalError: one is, with another content.
    """
    wanted = set()
    for name, digest in expected.items():
        place = folder / _safe(name)
        _refuse_links(folder, place)
        if not place.exists():
            wanted.add(name)
        elif not place.is_file() or _digest(place) != digest:
            raise _LocalError(f"{place} is there already and is something else: move it away, or name another folder")
    return wanted


def _refuse_links(folder: Path, place: Path) -> None:
    """Refuse to write through a link that lies in the folder, wherever it leads."""
    for each in (place, *place.parents):
        if each == folder.parent:
            return
        if each.is_symlink():
            raise _LocalError(f"{each} is a link: move it away, or name another folder")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with _local(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _make(folder: Path) -> None:
    with _local(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _write(data: IO[bytes], place: Path, expected: str) -> None:
    """Write a file under a name of its own until all of it is there; ValueError where it is not the same."""
    _make(place.parent)
    # Always the same one, so that what a run that was killed has left is written over by the next.
    part = place.with_name(f".cms-{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]}.part")
    digest = hashlib.sha256()
    try:
        with _local(part):
            part.unlink(missing_ok=True)
            with part.open("xb") as file:
                while block := data.read(_BLOCK):
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != expected:
                raise ValueError(f"{place.name} has another checksum than on its host: was it being written to?")
            part.replace(place)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _local(path: Path) -> Iterator[None]:
    """Turn what the disk here raises into words; what the stream raises is of the host."""
    try:
        yield
    except (TimeoutError, ConnectionError):
        raise
    except OSError as error:
        raise _LocalError(f"{path} cannot be written: {error.strerror or error}") from error


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ATTEMPT = re.compile(rf"(\d+(?:\.\d*)?) ({NAME.pattern})/({NAME.pattern})")


class _Attempt(NamedTuple):
    when: float
    results: ResultLocation


def locate_results(
    context: Context, membership: DiscoveredCluster, found: Sequence[ResultLocation]
) -> tuple[list[ResultLocation], Mapping[str, ClusterError]]:
    """Return where each task has left its results, in its last attempt, and why hosts could not be asked.

    Args:
        context: the operator's side.
        membership: the cluster.
        found: what the engine says; hosts are asked about those without a task.
    """
    unknown = {each.node: each for each in found if not each.task}
    hosts = hosts_of(list(unknown), membership, context)
    with ExitStack() as stack:

        def ask(host: Host) -> list[_Attempt]:
            connection = connection_to(host, membership, context, stack)
            its = unknown[hosts[host]]
            answer = connection.run(host_script.load("host/attempts.sh"), files={"path": its.path.encode()})
            return list(_attempts(its, answer.facts.get("attempt", "")))

        outcomes = parallel.run_on_hosts(ask, {host: host for host in hosts})
    every = (attempt for attempts in outcomes.values.values() for attempt in attempts)
    last = {each.results.task: each.results for each in sorted(every, key=lambda each: each.when)}
    return [*(each for each in found if each.task and each.task not in last), *last.values()], outcomes.failures


def _attempts(of: ResultLocation, lines: str) -> Iterator[_Attempt]:
    for line in lines.splitlines():
        if told := _ATTEMPT.fullmatch(line):
            seconds, task, attempt = told.groups()
            yield _Attempt(float(seconds), ResultLocation(task, of.node, f"{of.path}/{task}/{attempt}"))
