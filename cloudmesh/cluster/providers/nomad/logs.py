"""The output of a job's tasks, through Nomad's API: what their hosts save of it (see images/nomad/keep-output.sh).

Nomad's own log of a task is never read: it may lack some of what the task wrote, and nobody can say which.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kept_log import KeptLog
from cloudmesh.cluster.providers.nomad.api_client import call, call_with_retry
from cloudmesh.cluster.providers.nomad.docker_log import DockerLog
from cloudmesh.cluster.providers.nomad.status import OutputSource

if TYPE_CHECKING:
    import nomad


_PIECE_BYTES = 4 << 20
# A host saves the last of a task's output a moment after Nomad has told the task's end, or has begun to kill it.
_PATIENCE_SECONDS, _MOMENT_SECONDS, _PAUSE_SECONDS = 20.0, 2.0, 0.2
# Words in the file that tells that the output of an attempt has been saved.
_RESTARTED, _ELSEWHERE = "restarted", "elsewhere"
# What cannot be had now, or not any more.
_UNAVAILABLE = (ApiError, NotFoundError)


class Attempt(NamedTuple):
    """What a host has saved of one attempt at a task.

    Attributes:
        path: the file's, in the allocation's directory.
        size: how many bytes it has so far.
        end: path of the file that says that nothing will be added; empty until then.
    """

    path: str
    size: int
    end: str


class SavedOutput:
    """What hosts have saved in the directory of an allocation.

    Args:
        client: of Nomad's API.
        ask: sends a request.

    Every method raises NotFoundError where the host is down, or has no such allocation any more, and ApiError where
    Nomad does not answer.
    """

    def __init__(self, client: nomad.Nomad, ask: Callable[[Callable[[], Any]], Any]) -> None:
        self._files = client.client
        self._ask = ask

    def list_attempts(self, allocation_id: str, task: str) -> list[Attempt]:
        """Return what there is of a task, one attempt after the other."""
        entries = self._ask(lambda: self._files.ls.list_files(allocation_id))
        sizes = {str(entry["Name"]): int(entry["Size"]) for entry in entries}
        prefix = f"output.{task.replace('/', '_')}."
        paths = sorted(name for name in sizes if name.startswith(prefix) and f"{name}.from" in sizes)
        return [Attempt(path, sizes[path], f"{path}.end" if f"{path}.end" in sizes else "") for path in paths]

    def read(self, allocation_id: str, path: str, offset: int = 0) -> bytes:
        """Return the next bytes of a file; none at its end."""
        params = {"path": f"/{path}", "offset": offset, "limit": _PIECE_BYTES}
        # Nomad would compress them, which takes longer than to send them.
        headers = {"Accept-Encoding": "identity"}
        response = self._ask(
            lambda: self._files.read_at.request(allocation_id, method="get", params=dict(params), headers=dict(headers))
        )
        return bytes(response.content)


def was_cut_off(client: nomad.Nomad, allocation_id: str, task: str) -> bool:
    """Return whether the last attempt at a task ended because its host was restarted; False where nobody can say.

    A host that has just been started is given a moment to say so.
    """
    saved = SavedOutput(client, call)
    deadline = time.monotonic() + _MOMENT_SECONDS
    try:
        while not (attempts := saved.list_attempts(allocation_id, task)) or not attempts[-1].end:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
        return _RESTARTED in saved.read(allocation_id, attempts[-1].end).decode().split()
    except _UNAVAILABLE:
        return False


class TaskOutput:
    """What tasks have written; each piece is returned once.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._saved = SavedOutput(client, call_with_retry)
        self._attempts: dict[tuple[str, str], _AttemptOutput] = {}  # by allocation and path

    def read_new(self, sources: Iterable[OutputSource], *, is_last: bool = False) -> Iterator[Chunk]:
        """Yield what was written since the last call.

        Args:
            sources: the tasks.
            is_last: whether nobody will call again, so that what cannot be had now is told in a line.
        """
        yield from self._read_each(self._read, sources, is_last=is_last)

    def read_rest(self, sources: Iterable[OutputSource]) -> Iterator[Chunk]:
        """Yield what is left to be told of a job that has ended; what cannot be had is told in a line."""
        yield from self._read_each(self._read_to_end, sources, is_last=True)

    def _read_each(
        self, read: Callable[[OutputSource], Iterator[Chunk]], sources: Iterable[OutputSource], *, is_last: bool
    ) -> Iterator[Chunk]:
        for source in sources:
            try:
                yield from read(source)
            except _UNAVAILABLE as error:
                if is_last:
                    yield outcomes.missing_output(f"{source.task} on {source.host} cannot be had: {error}")

    def _read_to_end(self, source: OutputSource) -> Iterator[Chunk]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            before = self._count_bytes()
            is_complete = yield from self._read(source)
            if is_complete or not source.is_over:
                return
            if self._count_bytes() > before:
                deadline = time.monotonic() + _PATIENCE_SECONDS
            if time.monotonic() > deadline:
                yield outcomes.missing_output(f"{source.task} may lack its end: host {source.host} has not saved it")
                return
            time.sleep(_PAUSE_SECONDS)

    def _read(self, source: OutputSource) -> Generator[Chunk, None, bool]:
        """Yield what is new of a task; return whether that was the last of it."""
        attempts = self._saved.list_attempts(source.allocation_id, source.task)
        for attempt in attempts:
            key = (source.allocation_id, attempt.path)
            if key not in self._attempts:
                self._attempts[key] = _AttemptOutput(self._saved, source, attempt.path)
            yield from self._attempts[key].read_new(attempt)
        return len(attempts) >= source.starts and all(attempt.end for attempt in attempts)

    def _count_bytes(self) -> int:
        return sum(attempt.offset for attempt in self._attempts.values())


class _AttemptOutput:
    """What one attempt at a task has written."""

    def __init__(self, saved: SavedOutput, source: OutputSource, path: str) -> None:
        self._saved = saved
        self._source = source
        self._path = path
        self._log = KeptLog(self, DockerLog(), source.task)
        self._is_complete = False

    @property
    def offset(self) -> int:
        """How many bytes of its file are done with."""
        return self._log.offset

    def read_new(self, attempt: Attempt) -> Iterator[Chunk]:
        """Yield what was added to its file."""
        yield from self._log.read_new(attempt.size)
        if attempt.end and not self._is_complete:
            self._is_complete = True
            words = self._saved.read(self._source.allocation_id, attempt.end).decode().split()
            if _ELSEWHERE in words:
                yield outcomes.missing_output(f"{self._source.task} is not kept: its job logs by {words[-1]}")

    def read(self, offset: int) -> bytes:
        """Return the next bytes of its file."""
        return self._saved.read(self._source.allocation_id, self._path, offset)

    def read_gap(self) -> bytes:
        """Return what is said about a part that is missing."""
        return self._saved.read(self._source.allocation_id, f"{self._path}.gap")
