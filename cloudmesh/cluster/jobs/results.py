"""Copies the results directories of jobs from the hosts that ran them, and verifies every file on arrival.

A host sends a tar archive whose first file lists the SHA-256 of all others (`cloudmesh/images/host/results.sh`). Files
are written while they arrive: neither side holds a whole file in memory.
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
from cloudmesh.cluster.core.digests import sha256_of_file
from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError, UnreachableError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, connection_to, hosts_of
from cloudmesh.cluster.jobs.lost_hosts import MISSING, explain
from cloudmesh.cluster.providers.base import ResultLocation
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


_CHECKSUMS = "cms-checksums"
_MAX_CHECKSUMS = 1 << 28
_BLOCK = 1 << 18
_SILENCE_SECONDS = 600.0  # the host reads all files once, for their checksums, before it sends the first byte


@dataclass(frozen=True)
class CopySummary:
    """How many files were copied, and their size in bytes altogether."""

    files: int = 0
    size: int = 0

    def __add__(self, other: CopySummary) -> CopySummary:
        return CopySummary(self.files + other.files, self.size + other.size)


def fetch(
    context: Context, discovered: DiscoveredCluster, locations: Sequence[ResultLocation], target: Path
) -> CopySummary:
    """Copy the results of a job's tasks into `target`, those of each task into a folder with the task's name.

    A file that exists with the same content counts as copied, so the next run completes one that was interrupted. No
    file gets its name before it is complete and its checksum has been verified.

    Args:
        context: the operator's side.
        discovered: the cluster.
        locations: where the tasks left their results.
        target: a folder; it is made when there is something to copy.

    Raises:
        HostsError: some hosts could not be reached, files were damaged on the way, or a file here has another content.
            The results of all other hosts have been copied.
    """
    located, failures = locate_results(context, discovered, locations)
    by_node = defaultdict(list)
    for location in located:
        by_node[location.node].append(location)
    missing = {node: explain(node, _describe(by_node[node])) for node in by_node if node.status == MISSING}
    hosts = hosts_of([node for node in by_node if node not in missing], discovered, context)
    with ExitStack() as stack:

        def copy_from(host: Host) -> CopySummary:
            connection = connection_to(host, discovered, context, stack)
            summaries = (_copy_task(connection, task, target, context.report) for task in by_node[hosts[host]])
            summary = sum(summaries, CopySummary())
            context.report.done(str(host), f"{summary.files} files")
            return summary

        outcomes = parallel.run_on_hosts(copy_from, {host: host for host in hosts})
    failures = {**failures, **outcomes.failures, **{node.name: error for node, error in missing.items()}}
    for host, node in hosts.items():
        if isinstance(error := failures.get(str(host)), UnreachableError):
            cause = f"{error.cause}; {_describe(by_node[node])} is there: start it, and ask again"
            failures[str(host)] = UnreachableError(node.name, cause)
    if failures:
        raise HostsError(failures)
    return sum(outcomes.values.values(), CopySummary())


def _describe(locations: Sequence[ResultLocation]) -> str:
    return f"what {', '.join(location.task for location in locations)} left in $CMS_RESULTS"


def _copy_task(connection: Connection, results: ResultLocation, target: Path, report: Report) -> CopySummary:
    """Copy the results of one task.

    Raises:
        HostError: the task's name or a file's name is unsafe, the archive is damaged, or a file cannot be written here.
    """
    host = str(connection.host)
    if not NAME.fullmatch(results.task):
        raise HostError(host, f"the engine calls a task {results.task[:60]!a}, which is no name for a folder")
    report.step(host, f"results of {results.task}")
    body, inputs = host_script.load("host/results.sh"), {"path": results.path.encode()}
    damage = ""
    with connection.stream(body, files=inputs, silence=_SILENCE_SECONDS) as stream:
        try:
            return receive(stream, target / results.task)  # type: ignore[arg-type]  # tarfile calls nothing but `read`
        except tarfile.TarError as error:
            damage = f"cut short or damaged: {error}"  # the script's exit may tell more: see below
            stream.readall()
        except (_LocalError, ValueError) as error:
            raise HostError(host, f"results of {results.task}: {error}") from error
    raise HostError(host, f"results of {results.task}: {damage}")


class _LocalError(Exception):
    """A file on this machine is in the way, or cannot be written; the message says which one and why."""


def receive(stream: IO[bytes], folder: Path) -> CopySummary:
    """Write the files of the archive that arrives in `stream` into `folder`.

    Raises:
        tarfile.TarError: the archive is cut short or damaged.
        ValueError: it is not what the host's script sends, a file did not arrive, or one has another checksum.
        _LocalError: a file here is in the way, or cannot be written.
    """
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as archive:
        first = archive.next()
        content = archive.extractfile(first) if first and first.name == _CHECKSUMS else None
        if first is None or content is None or first.size > _MAX_CHECKSUMS:
            raise ValueError("the list of files is missing")
        expected = _parse_checksums(content.read())
        missing = _find_missing(folder, expected)
        summary = CopySummary(len(expected))
        for member in _iterate_members(archive):
            path = folder / _relative_path(member.name)
            if member.isdir():
                _make_folder(path)
            elif member.isreg():
                summary += CopySummary(0, member.size)
                digest = expected.pop(member.name, None)
                if digest is None:
                    continue  # the file was made after the list of checksums
                if member.name in missing and (data := archive.extractfile(member)):
                    _write(data, path, digest)
        if expected:
            raise ValueError(f"{next(iter(expected))} did not arrive: was it removed meanwhile?")
        return summary


def _iterate_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # otherwise tarfile remembers all members
        yield member


def _parse_checksums(text: bytes) -> dict[str, str]:
    """Return the SHA-256 of each file from the output of `sha256sum --zero`."""
    checksums = {}
    for line in text.split(b"\0"):
        if line:
            digest, _, name = line.partition(b"  ")
            checksums[os.fsdecode(name)] = digest.decode("ascii")
    return checksums


def _relative_path(name: str) -> Path:
    """Return the path, relative to the task's folder, for a name in the archive.

    Raises:
        ValueError: the path would lead out of the folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"the name {name[:60]!a} leads out of the folder")
    return path


def _find_missing(folder: Path, expected: Mapping[str, str]) -> set[str]:
    """Return the names of the files that are not in the folder yet.

    Raises:
        _LocalError: a file is there with another content, or a link is on the way to it.
    """
    missing = set()
    for name, digest in expected.items():
        path = folder / _relative_path(name)
        _refuse_links(folder, path)
        if not path.exists():
            missing.add(name)
        elif not path.is_file() or _digest(path) != digest:
            raise _LocalError(f"{path} is there already and is something else: move it away, or name another folder")
    return missing


def _refuse_links(folder: Path, path: Path) -> None:
    """Raise _LocalError where `path`, or a folder on the way from `folder` to it, is a link."""
    for ancestor in (path, *path.parents):
        if ancestor == folder.parent:
            return
        if ancestor.is_symlink():
            raise _LocalError(f"{ancestor} is a link: move it away, or name another folder")


def _digest(path: Path) -> str:
    with _local_errors(path):
        return sha256_of_file(path)


def _make_folder(folder: Path) -> None:
    with _local_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _write(data: IO[bytes], path: Path, expected: str) -> None:
    """Write a file, under a temporary name until it is complete and verified.

    Raises:
        ValueError: the data has another SHA-256 than `expected`.
        _LocalError: the file cannot be written.
    """
    _make_folder(path.parent)
    # The temporary name is always the same, so that the next run overwrites what a killed run left.
    part = path.with_name(f".cms-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")
    digest = hashlib.sha256()
    try:
        with _local_errors(part):
            part.unlink(missing_ok=True)
            with part.open("xb") as file:
                while block := data.read(_BLOCK):
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != expected:
                raise ValueError(f"{path.name} has another checksum than on its host: was it being written to?")
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _local_errors(path: Path) -> Iterator[None]:
    """Turn errors of this machine's disk into a _LocalError; errors of the connection to the host pass through."""
    try:
        yield
    except (TimeoutError, ConnectionError):
        raise
    except OSError as error:
        raise _LocalError(f"{path} cannot be written: {error.strerror or error}") from error


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ATTEMPT = re.compile(rf"(\d+(?:\.\d*)?) ({NAME.pattern})/({NAME.pattern})")


class _Attempt(NamedTuple):
    """An attempt of a task: when its folder last changed, in seconds since the epoch, and where its results are."""

    changed: float
    results: ResultLocation


def locate_results(
    context: Context, discovered: DiscoveredCluster, locations: Sequence[ResultLocation]
) -> tuple[list[ResultLocation], Mapping[str, ClusterError]]:
    """Find out where the last attempt of each task left its results.

    Args:
        context: the operator's side.
        discovered: the cluster.
        locations: what the engine says. Where a location has no task, the host is asked which tasks left results there.

    Returns:
        One location for each task, and the errors of hosts that could not be asked, by host.
    """
    without_task = {location.node: location for location in locations if not location.task}
    hosts = hosts_of(list(without_task), discovered, context)
    with ExitStack() as stack:

        def list_attempts(host: Host) -> list[_Attempt]:
            connection = connection_to(host, discovered, context, stack)
            location = without_task[hosts[host]]
            answer = connection.run(host_script.load("host/attempts.sh"), files={"path": location.path.encode()})
            if "attempt" not in answer.facts:
                raise HostError(str(host), "the host gave no answer when it was asked for results")
            return list(_parse_attempts(location, answer.facts["attempt"]))

        outcomes = parallel.run_on_hosts(list_attempts, {host: host for host in hosts})
    attempts = [attempt for of_host in outcomes.values.values() for attempt in of_host]
    last = {attempt.results.task: attempt.results for attempt in sorted(attempts, key=lambda attempt: attempt.changed)}
    named = [location for location in locations if location.task and location.task not in last]
    return [*named, *last.values()], outcomes.failures


def _parse_attempts(location: ResultLocation, lines: str) -> Iterator[_Attempt]:
    """Yield the attempts that a host lists below `location`, a line "SECONDS TASK/ATTEMPT" each."""
    for line in lines.splitlines():
        if match := _ATTEMPT.fullmatch(line):
            seconds, task, attempt = match.groups()
            results = ResultLocation(task, location.node, f"{location.path}/{task}/{attempt}")
            yield _Attempt(float(seconds), results)
