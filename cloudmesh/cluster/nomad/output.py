"""The output of a job's tasks, through Nomad's API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from cloudmesh.cluster.api import Chunk
from cloudmesh.cluster.errors import ApiError, NotFoundError
from cloudmesh.cluster.nomad import kept
from cloudmesh.cluster.nomad.access import asked, patiently

if TYPE_CHECKING:
    import nomad

# A task's host has kept its output a moment after Nomad has told that the task ended.
_PATIENCE_SECONDS, _PAUSE_SECONDS = 10.0, 0.2
Task = tuple[str, str]  # the allocation's id, and the task's name in it
_Source = tuple[str, str, str]  # a task, and one of its streams
_STREAMS = ("stdout", "stderr")


class Output:
    """What tasks have written, each piece told once.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._offsets: dict[_Source, int] = {}

    def new(self, tasks: Iterable[Task]) -> Iterator[Chunk]:
        """Yield what was written since the last call."""
        for task in tasks:
            for stream in _STREAMS:
                source = (*task, stream)
                told = self._offsets.get(source, 0)
                data = self._read(source, told)
                self._offsets[source] = told + len(data)
                if data:
                    yield Chunk(stream, data)

    def rest(self, tasks: Iterable[Task]) -> Iterator[Chunk]:
        """Yield what is left of tasks that have ended, and what Nomad did not read before they did."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for task in tasks:
            for stream, found in kept.streams(self._kept(*task, deadline)).items():
                source = (*task, stream)
                told = self._offsets.get(source, 0)
                start = max(0, told - len(found))  # as much again of what was told, to see what follows
                log = self._read(source, start)
                data = log[told - start :] + kept.missing(log, found)
                if data:
                    yield Chunk(stream, data)

    def _read(self, source: _Source, offset: int) -> bytes:
        allocation, task, stream = source
        params = {"task": task, "type": stream, "offset": offset, "origin": "start", "plain": True}
        try:
            response = patiently(
                lambda: self._client.client.stream_logs.request(allocation, params=dict(params), method="get")
            )
        except NotFoundError:  # the task has not written anything yet
            return b""
        return bytes(response.content)

    def _kept(self, allocation: str, task: str, deadline: float) -> bytes:
        """Return what the task's host has kept of its output; nothing where that cannot be had."""
        files, name = self._client.client, kept.name(task)
        try:
            while name not in (each["Name"] for each in asked(lambda: files.ls.list_files(allocation))):
                if time.monotonic() > deadline:
                    return b""
                time.sleep(_PAUSE_SECONDS)
            request = partial(files.cat.request, allocation, params={"path": f"/{name}"}, method="get")
            return bytes(asked(request).content)
        except ApiError:  # as when the host is lost; what Nomad has of it has been told
            return b""
