"""The output of a job's tasks, through Nomad's API."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.nomad.api_client import call, call_with_retry

if TYPE_CHECKING:
    import nomad


# A task's host has kept its output a moment after Nomad has told that the task ended.
_PATIENCE_SECONDS, _PAUSE_SECONDS = 10.0, 0.2
Task = tuple[str, str]  # the allocation's id, and the task's name in it
_Source = tuple[str, str, str]  # a task, and one of its streams
_STREAMS = ("stdout", "stderr")


class TaskOutput:
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
            for stream, found in split_streams(self._kept(*task, deadline)).items():
                source = (*task, stream)
                told = self._offsets.get(source, 0)
                start = max(0, told - len(found))  # as much again of what was told, to see what follows
                log = self._read(source, start)
                data = log[told - start :] + find_missing_end(log, found)
                if data:
                    yield Chunk(stream, data)

    def _read(self, source: _Source, offset: int) -> bytes:
        allocation, task, stream = source
        params = {"task": task, "type": stream, "offset": offset, "origin": "start", "plain": True}
        try:
            response = call_with_retry(
                lambda: self._client.client.stream_logs.request(allocation, params=dict(params), method="get")
            )
        except NotFoundError:  # the task has not written anything yet
            return b""
        return bytes(response.content)

    def _kept(self, allocation: str, task: str, deadline: float) -> bytes:
        """Return what the task's host has kept of its output; nothing where that cannot be had."""
        files, name = self._client.client, build_output_file_name(task)
        try:
            while name not in (each["Name"] for each in call(lambda: files.ls.list_files(allocation))):
                if time.monotonic() > deadline:
                    return b""
                time.sleep(_PAUSE_SECONDS)
            request = partial(files.cat.request, allocation, params={"path": f"/{name}"}, method="get")
            return bytes(call(request).content)
        except ApiError:  # as when the host is lost; what Nomad has of it has been told
            return b""


_HEADER = struct.Struct(">BxxxL")  # the stream, and how many bytes of it follow
_STREAM_NUMBERS = {1: "stdout", 2: "stderr"}
# So many are compared before all are, which may be millions.
_MARK_BYTES = 64


def build_output_file_name(task: str) -> str:
    """Return the file, in an allocation's folder, that a task's output is kept in once it has ended."""
    return f"output.{task}"


def split_streams(framed: bytes) -> dict[str, bytes]:
    """Return what was written to each stream; nothing of a terminal's output, which has no frames."""
    found: dict[str, list[bytes]] = {stream: [] for stream in _STREAM_NUMBERS.values()}
    position = 0
    while position + _HEADER.size <= len(framed):
        number, size = _HEADER.unpack_from(framed, position)
        position += _HEADER.size
        if number in _STREAM_NUMBERS:
            found[_STREAM_NUMBERS[number]].append(framed[position : position + size])
        position += size
    return {stream: b"".join(pieces) for stream, pieces in found.items()}


def find_missing_end(told: bytes, kept: bytes) -> bytes:
    """Return the end of `kept` that `told` does not end with.

    Args:
        told: by Nomad: what all attempts at the task wrote, or the last part of that.
        kept: what the last attempt wrote, or the last part of that.
    """
    start = told.find(kept[:1], max(0, len(told) - len(kept)))
    while start >= 0:
        if kept.startswith(told[start : start + _MARK_BYTES]) and kept.startswith(told[start:]):
            return kept[len(told) - start :]
        start = told.find(kept[:1], start + 1)
    return kept
