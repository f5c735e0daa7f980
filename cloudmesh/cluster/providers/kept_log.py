"""Reads a log that a host keeps of what a task prints, as it grows, and tells where its middle is not kept.

`cloudmesh/images/host/shorten-log.pl` drops the middle of a log that is larger than its job's `logLimit`. The log keeps
its size, and a file beside it says before where the gap is. What is in the gap reads as zeros, or is there yet. So that
file is asked for only where a piece has zeros, of which the task may also have printed some.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.base import Chunk

# Fewer at the end of a piece are no whole entry of any format, and wait for the next piece.
_ZEROS = bytes(8)


class Parser(Protocol):
    """Reads the format of a log, which comes in pieces that may end anywhere."""

    def read(self, piece: bytes) -> Iterator[Chunk]:
        """Yield what the log has of the task's output up to the end of its next piece."""

    def skip_rest(self) -> None:
        """Forget an entry that was cut off: the next piece begins with another."""


class Source(Protocol):
    """Where a log is."""

    def read(self, offset: int) -> bytes:
        """Return the next bytes of the log; none at its end."""

    def read_gap(self) -> bytes:
        """Return what there is of its gap, "START END BEFORE"; nothing where it has none."""


class _Gap(NamedTuple):
    """Bytes of a log that are not kept.

    Attributes:
        start: the first of them.
        end: behind the last of them.
        before: how many bytes the task had printed before `end`.
    """

    start: int
    end: int
    before: int


class KeptLog:
    """One log, each piece of which is told once.

    Args:
        source: where it is.
        parser: of its format.
        task: the name of its task.

    Attributes:
        offset: how many bytes of it are done with.
    """

    def __init__(self, source: Source, parser: Parser, task: str) -> None:
        self.offset = 0
        self._source = source
        self._parser = parser
        self._task = task
        self._printed = 0  # bytes that the task printed before `offset`, as far as whole entries go

    def read_new(self, size: int | None = None) -> Iterator[Chunk]:
        """Yield what was written since the last call.

        Args:
            size: how many bytes the log has; None: it is read until there is no more.
        """
        while (size is None or self.offset < size) and (piece := self._source.read(self.offset)):
            end = self.offset + len(piece)
            gap = self._read_gap() if _ZEROS in piece or piece.startswith(b"\0") else None
            if not gap or end <= gap.start or gap.end <= self.offset:
                yield from self._tell(piece)
                self.offset = end
                continue
            yield from self._tell(piece[: max(0, gap.start - self.offset)])
            self._parser.skip_rest()
            yield outcomes.output_gap(self._task, gap.before - self._printed)
            self.offset, self._printed = gap.end, gap.before

    def _tell(self, piece: bytes) -> Iterator[Chunk]:
        for chunk in self._parser.read(piece):
            self._printed += len(chunk.data)
            yield chunk

    def _read_gap(self) -> _Gap | None:
        numbers = self._source.read_gap().split()
        return _Gap(*map(int, numbers)) if numbers else None
