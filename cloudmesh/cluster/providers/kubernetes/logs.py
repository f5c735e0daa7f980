"""The output of pods as it comes, all streams at once; taken up again where it broke off."""

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
    from kubernetes import client


STREAMS = ("stdout", "stderr")
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\S+) ")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_OVERLAP_SECONDS = 5
_PAUSE_SECONDS = 0.3


class BrokenOffError(ClusterError):
    """A stream ended before the pod did; it can be asked for again."""


class Source(Protocol):
    """Where a pod's output comes from."""

    def has_ended(self) -> bool:
        """Return whether the pod writes no more."""

    def read(self, stream: str, *, follow: bool, since_seconds: int | None) -> Iterable[bytes]:
        """Yield pieces of a stream, each line with the time of its writing in front; may raise BrokenOffError."""


class _End(NamedTuple):
    """A stream has come to its end, well or by an error."""

    error: ClusterError | None = None


class FollowedPods:
    """The output of pods until they end; more of them may be added at any time."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Chunk | _End] = SimpleQueue()
        self._streams = 0

    @property
    def going(self) -> int:
        """How many pods may write more."""
        return -(-self._streams // len(STREAMS))

    def add(self, source: Source) -> None:
        """Follow another pod."""
        for stream in STREAMS:
            self._streams += 1
            threading.Thread(target=_pump, args=(source, stream, self._queue.put), daemon=True).start()

    def chunks(self, seconds: float | None = None) -> Iterator[Chunk]:
        """Yield what the pods write until all have ended, or for so many seconds."""
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while self._streams and (left := deadline - time.monotonic()) > 0:
            try:
                item = self._queue.get(timeout=None if left == math.inf else left)
            except Empty:
                return
            if isinstance(item, Chunk):
                yield item
            elif item.error:
                raise item.error
            else:
                self._streams -= 1


def read_written(source: Source) -> Iterator[Chunk]:
    """Yield what a pod has written so far; nothing of one that has been removed."""
    with suppress(NotFoundError):
        for stream in STREAMS:
            for data in LineTracker().new(source.read(stream, follow=False, since_seconds=None), to_the_end=True):
                yield Chunk(stream, data)


def _pump(source: Source, stream: str, put: Callable[[Chunk | _End], None]) -> None:
    lines = LineTracker()
    try:
        while True:
            # Asked first: what is written until then is read below.
            ended = source.has_ended()
            pieces = source.read(stream, follow=not ended, since_seconds=lines.overlap())
            try:
                for data in lines.new(pieces, to_the_end=ended):
                    put(Chunk(stream, data))
            except BrokenOffError:
                ended = False
            if ended:
                break
            time.sleep(_PAUSE_SECONDS)
        put(_End())
    except NotFoundError:  # the pod has been removed
        put(_End())
    except ClusterError as error:
        put(_End(error))


class LineTracker:
    """Takes the times off the lines of a stream that may be read again, and leaves out the lines that were given."""

    def __init__(self) -> None:
        self._last = b""  # time of the last line given
        self._same = 0  # how many lines of that time were given
        self._read_at = 0.0

    def overlap(self) -> int | None:
        """Return since how many seconds ago lines must be asked for, so that none is missed; None for all."""
        return int(time.monotonic() - self._read_at) + _OVERLAP_SECONDS if self._last else None

    def new(self, pieces: Iterable[bytes], *, to_the_end: bool) -> Iterator[bytes]:
        """Yield the lines that were not given before, in as large pieces as they come.

        Args:
            pieces: of the stream.
            to_the_end: what comes behind the last line's end is a line too, and not one that was cut.
        """
        known, again = self._last, 0
        for block in _whole_lines(pieces, to_the_end):
            fresh = []
            for line in _LINE.findall(block):
                stamp = _STAMP.match(line)
                if stamp and known:
                    again += stamp[1] == known
                    if stamp[1] < known or (stamp[1] == known and again <= self._same):
                        continue
                    known = b""
                if stamp:
                    self._count(stamp[1])
                elif known:
                    continue
                fresh.append(line[stamp.end() :] if stamp else line)
            self._read_at = time.monotonic()
            if fresh:
                yield b"".join(fresh)

    def _count(self, stamp: bytes) -> None:
        self._same = self._same + 1 if stamp == self._last else 1
        self._last = stamp


def _whole_lines(pieces: Iterable[bytes], to_the_end: bool) -> Iterator[bytes]:
    """Yield pieces that end with a line."""
    rest = b""
    for piece in pieces:
        block, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            yield block + newline
    if rest and to_the_end:
        yield rest


_CHUNK = 1 << 16
_GONE = "unable to retrieve container logs"


class PodOutput:
    """The output of a pod; see `logs.Source`.

    Args:
        its: the client.
        pod: its name.
    """

    def __init__(self, its: client.ApiClient, pod: str) -> None:
        self._its = its
        self._pod = pod

    def has_ended(self) -> bool:
        """Return whether the pod writes no more."""
        return pod_status.has_ended(call_with_retry(lambda: call(self._its, requests.PODS.read(self._pod))))

    def read(self, stream: str, *, follow: bool, since_seconds: int | None) -> Iterable[bytes]:
        """Yield pieces of a stream until it ends or breaks off."""
        options = {"sinceSeconds": since_seconds} if since_seconds else {}
        response = call_with_retry(lambda: self._opened(follow=follow, stream=stream.capitalize(), **options))
        try:
            yield from response.stream(_CHUNK)
        except urllib3.exceptions.HTTPError as error:
            raise BrokenOffError(f"Kubernetes: the output of {self._pod} broke off") from error
        finally:
            response.close()

    def _opened(self, **options: str | int | bool) -> urllib3.HTTPResponse:
        try:
            return api_client.open_stream(self._its, requests.PODS.log(self._pod, timestamps=True, **options))
        except ApiError as error:
            # Its host has driven it out, or was started anew without it.
            if _GONE in str(error):
                raise NotFoundError(str(error)) from error
            raise
