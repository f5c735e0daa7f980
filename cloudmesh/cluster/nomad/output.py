"""The output of a job's tasks, through Nomad's API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cloudmesh.cluster.api import Chunk
from cloudmesh.cluster.errors import NotFoundError
from cloudmesh.cluster.nomad.access import patiently

if TYPE_CHECKING:
    import nomad

# What a task wrote last reaches its log a moment after Nomad has told that it ended.
_SETTLING_SECONDS = 1.0
Task = tuple[str, str]  # the allocation's id, and the task's name in it


class Output:
    """What tasks have written, each piece told once.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._offsets: dict[tuple[str, str, str], int] = {}

    def new(self, tasks: Iterable[Task]) -> Iterator[Chunk]:
        """Yield what was written since the last call."""
        for allocation, task in tasks:
            for stream in ("stdout", "stderr"):
                source = (allocation, task, stream)
                data = self._read(*source, self._offsets.get(source, 0))
                self._offsets[source] = self._offsets.get(source, 0) + len(data)
                if data:
                    yield Chunk(stream, data)

    def rest(self, tasks: Iterable[Task]) -> Iterator[Chunk]:
        """Yield what is left of tasks that have ended, until nothing more comes."""
        those = list(tasks)
        while True:
            time.sleep(_SETTLING_SECONDS)
            chunks = list(self.new(those))
            if not chunks:
                return
            yield from chunks

    def _read(self, allocation: str, task: str, stream: str, offset: int) -> bytes:
        params = {"task": task, "type": stream, "offset": offset, "origin": "start", "plain": True}
        try:
            response = patiently(
                lambda: self._client.client.stream_logs.request(allocation, params=dict(params), method="get")
            )
        except NotFoundError:  # the task has not written anything yet
            return b""
        return bytes(response.content)
