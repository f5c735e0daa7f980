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


# A host saves a task's output (see images/nomad/keep-output.sh) a moment after Nomad reports the task's end.
_PATIENCE_SECONDS, _PAUSE_SECONDS = 10.0, 0.2
Task = tuple[str, str]  # the allocation's id, and the task's name in it
_Source = tuple[str, str, str]  # a task, and one of its streams
_STREAMS = ("stdout", "stderr")


class TaskOutput:
    """What tasks have written; each piece is returned once.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._offsets: dict[_Source, int] = {}

    def read_new(self, tasks: Iterable[Task]) -> Iterator[Chunk]:
        """Yield what was written since the last call."""
        for task in tasks:
            for stream in _STREAMS:
                source = (*task, stream)
                offset = self._offsets.get(source, 0)
                data = self._read_log(source, offset)
                self._offsets[source] = offset + len(data)
                if data:
                    yield Chunk(stream, data)

    def read_rest(self, tasks: Iterable[Task]) -> Iterator[Chunk]:
        """Yield what is left of tasks that have ended, and what Nomad did not read before they did."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for task in tasks:
            for stream, saved in split_streams(self._read_saved(*task, deadline)).items():
                source = (*task, stream)
                offset = self._offsets.get(source, 0)
                start = max(0, offset - len(saved))  # some that was returned already, to see where `saved` goes on
                log = self._read_log(source, start)
                data = log[offset - start :] + find_missing_end(log, saved)
                if data:
                    yield Chunk(stream, data)

    def _read_log(self, source: _Source, offset: int) -> bytes:
        """Return what Nomad has of a stream, from `offset` on."""
        allocation_id, task, stream = source
        params = {"task": task, "type": stream, "offset": offset, "origin": "start", "plain": True}
        try:
            response = call_with_retry(
                lambda: self._client.client.stream_logs.request(allocation_id, params=dict(params), method="get")
            )
        except NotFoundError:  # the task has not written anything yet
            return b""
        return bytes(response.content)

    def _read_saved(self, allocation_id: str, task: str, deadline: float) -> bytes:
        """Return the output that the task's host has saved; empty where there is none before `deadline`."""
        files, name = self._client.client, build_output_file_name(task)
        try:
            while name not in (entry["Name"] for entry in call(lambda: files.ls.list_files(allocation_id))):
                if time.monotonic() > deadline:
                    return b""
                time.sleep(_PAUSE_SECONDS)
            request = partial(files.cat.request, allocation_id, params={"path": f"/{name}"}, method="get")
            return bytes(call(request).content)
        except (ApiError, NotFoundError):  # as when the host is lost; what Nomad has is returned without it
            return b""


_HEADER = struct.Struct(">BxxxL")  # Docker's frame: the stream's number, and how many bytes follow
_STREAM_NUMBERS = {1: "stdout", 2: "stderr"}
# So many bytes are compared before all are, which may be millions.
_MARK_BYTES = 64


def build_output_file_name(task: str) -> str:
    """Return the name of the file, in an allocation's directory, in which its host saves the output of a task."""
    return f"output.{task}"


def split_streams(framed: bytes) -> dict[str, bytes]:
    """Return what was written to "stdout" and "stderr"; nothing of a terminal's output, which has no frames."""
    streams: dict[str, list[bytes]] = {stream: [] for stream in _STREAM_NUMBERS.values()}
    position = 0
    while position + _HEADER.size <= len(framed):
        number, size = _HEADER.unpack_from(framed, position)
        position += _HEADER.size
        if number in _STREAM_NUMBERS:
            streams[_STREAM_NUMBERS[number]].append(framed[position : position + size])
        position += size
    return {stream: b"".join(pieces) for stream, pieces in streams.items()}


def find_missing_end(log: bytes, saved: bytes) -> bytes:
    """Return the end of `saved` that is missing at the end of `log`.

    Args:
        log: Nomad's: what all attempts at the task wrote, or the last part of that.
        saved: by the task's host: what the last attempt wrote, or the last part of that.
    """
    start = log.find(saved[:1], max(0, len(log) - len(saved)))
    while start >= 0:
        if saved.startswith(log[start : start + _MARK_BYTES]) and saved.startswith(log[start:]):
            return saved[len(log) - start :]
        start = log.find(saved[:1], start + 1)
    return saved
