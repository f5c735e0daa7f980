"""The output of pods: all streams at once, and continued where a stream was interrupted."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, Protocol

import urllib3

from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kubernetes import api_client, pod_status, requests
from cloudmesh.cluster.providers.kubernetes.api_client import call, call_with_retry

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


STREAMS = ("stdout", "stderr")
_TIMESTAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\S+) ")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_OVERLAP_SECONDS = 5
_PAUSE_SECONDS = 0.3


class BrokenOffError(ClusterError):
    """A stream ended before the pod did; it can be read again."""


class Source(Protocol):
    """The output of one pod, as this module needs it; `PodOutput` reads it from the API."""

    def has_ended(self) -> bool:
        """Return whether the pod writes no more."""

    def read(self, stream: str, *, follow: bool, since_seconds: int | None) -> Iterable[bytes]:
        """Yield pieces of a stream.

        Args:
            stream: "stdout" or "stderr".
            follow: go on until the pod ends.
            since_seconds: leave out lines that are older; None: yield all.

        Yields:
            Bytes in which each line begins with the time when it was written. A piece may end within a line.

        Raises:
            BrokenOffError: the connection was lost.
            NotFoundError: the pod has been deleted.
        """


class _End(NamedTuple):
    """Says that a stream has ended, and with which error, if any."""

    error: ClusterError | None = None


class FollowedPods:
    """The output of several pods until all have ended; more pods may be added at any time."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Chunk | _End] = SimpleQueue()
        self._streams = 0

    @property
    def unfinished(self) -> int:
        """How many pods may still write."""
        return math.ceil(self._streams / len(STREAMS))

    def add(self, source: Source) -> None:
        """Follow another pod."""
        for stream in STREAMS:
            self._streams += 1
            threading.Thread(target=_pump, args=(source, stream, self._queue.put), daemon=True).start()

    def read_chunks(self, seconds: float | None = None) -> Iterator[Chunk]:
        """Yield what the pods write until all have ended, or for at most so many seconds.

        Raises:
            ClusterError: the output of a pod could not be read.
        """
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while self._streams and (remaining := deadline - time.monotonic()) > 0:
            try:
                item = self._queue.get(timeout=None if remaining == math.inf else remaining)
            except Empty:
                return
            if isinstance(item, Chunk):
                yield item
            elif item.error:
                raise item.error
            else:
                self._streams -= 1


def read_written(source: Source) -> Iterator[Chunk]:
    """Yield what a pod has written so far; nothing if the pod has been deleted."""
    with suppress(NotFoundError):
        for stream in STREAMS:
            pieces = source.read(stream, follow=False, since_seconds=None)
            for data in LineTracker().new_lines(pieces, to_the_end=True):
                yield Chunk(stream, data)


def _pump(source: Source, stream: str, put: Callable[[Chunk | _End], None]) -> None:
    """Hand over what a pod writes to a stream until the pod ends, then an `_End`."""
    tracker = LineTracker()
    try:
        while True:
            # This is asked before reading, so that what is written until then is certainly read.
            has_ended = source.has_ended()
            pieces = source.read(stream, follow=not has_ended, since_seconds=tracker.since_seconds())
            try:
                for data in tracker.new_lines(pieces, to_the_end=has_ended):
                    put(Chunk(stream, data))
            except BrokenOffError:
                has_ended = False
            if has_ended:
                break
            time.sleep(_PAUSE_SECONDS)
        put(_End())
    except NotFoundError:  # the pod has been deleted
        put(_End())
    except ClusterError as error:
        put(_End(error))


class LineTracker:
    """Removes the timestamps from the lines of a stream, and lines that were yielded when it was read before."""

    def __init__(self) -> None:
        self._last = b""  # timestamp of the last line that was yielded
        self._same = 0  # number of lines with that timestamp that were yielded
        self._read_at = 0.0

    def since_seconds(self) -> int | None:
        """Return the age in seconds of the oldest lines that must be read again so that none is missed; None: all."""
        return int(time.monotonic() - self._read_at) + _OVERLAP_SECONDS if self._last else None

    def new_lines(self, pieces: Iterable[bytes], *, to_the_end: bool) -> Iterator[bytes]:
        """Yield the lines that were not yielded before, without their timestamps, joined to large pieces.

        Args:
            pieces: what `Source.read` yields.
            to_the_end: whether text after the last newline is a line too; otherwise it is a line that was cut.
        """
        # Until the first new line, `last` is the timestamp of the last old line, and `repeated` counts its lines.
        last, repeated = self._last, 0
        for block in _whole_lines(pieces, to_the_end):
            fresh = []
            for line in _LINE.findall(block):
                timestamp = _TIMESTAMP.match(line)
                if timestamp and last:
                    repeated += timestamp[1] == last
                    if timestamp[1] < last or (timestamp[1] == last and repeated <= self._same):
                        continue
                    last = b""
                if timestamp:
                    self._count(timestamp[1])
                elif last:
                    continue
                fresh.append(line[timestamp.end() :] if timestamp else line)
            self._read_at = time.monotonic()
            if fresh:
                yield b"".join(fresh)

    def _count(self, timestamp: bytes) -> None:
        self._same = self._same + 1 if timestamp == self._last else 1
        self._last = timestamp


def _whole_lines(pieces: Iterable[bytes], to_the_end: bool) -> Iterator[bytes]:
    """Yield the same bytes in pieces that end with a line; text after the last newline only with `to_the_end`."""
    rest = b""
    for piece in pieces:
        block, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            yield block + newline
    if rest and to_the_end:
        yield rest


_CHUNK = 1 << 16
_DELETED = "unable to retrieve container logs"


class PodOutput:
    """The output of a pod, read from the API.

    Args:
        client: the API client.
        pod: the name of the pod.
    """

    def __init__(self, client: ApiClient, pod: str) -> None:
        self._client = client
        self._pod = pod

    def has_ended(self) -> bool:
        """Return whether the pod writes no more."""
        return pod_status.has_ended(call_with_retry(lambda: call(self._client, requests.PODS.read(self._pod))))

    def read(self, stream: str, *, follow: bool, since_seconds: int | None) -> Iterable[bytes]:
        """Yield pieces of a stream; see `Source.read`.

        Raises:
            BrokenOffError: the API server ended the stream before the pod did.
            NotFoundError: the pod has been deleted.
        """
        options = {"sinceSeconds": since_seconds} if since_seconds else {}
        response = call_with_retry(lambda: self._open(follow=follow, stream=stream.capitalize(), **options))
        try:
            yield from response.stream(_CHUNK)
        except urllib3.exceptions.HTTPError as error:
            raise BrokenOffError(f"Kubernetes: the output of {self._pod} broke off") from error
        finally:
            response.close()

    def _open(self, **options: str | int | bool) -> urllib3.HTTPResponse:
        try:
            return api_client.open_stream(self._client, requests.PODS.log(self._pod, timestamps=True, **options))
        except ApiError as error:
            # The host has evicted the pod, or has been rebooted since.
            if _DELETED in str(error):
                raise NotFoundError(str(error)) from error
            raise
