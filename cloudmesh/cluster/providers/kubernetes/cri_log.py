"""Reads the log that the container runtime writes of a container: lines of the form "TIME STREAM TAG TEXT".

TAG is F where TEXT is a whole line or its end, and P where more of the line follows, or the output ends within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloudmesh.cluster.providers.base import Chunk

_LINE = re.compile(rb"^\S+ (stdout|stderr) ([FP])\S* ([^\n]*\n)", re.MULTILINE)
_STREAMS = {b"stdout": "stdout", b"stderr": "stderr"}


class CriLog:
    """One log, which comes in pieces that may end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, piece: bytes) -> Iterator[Chunk]:
        """Yield what the log has of the container's output up to the end of its next piece."""
        block, newline, self._rest = (self._rest + piece).rpartition(b"\n")
        current = b""
        texts: list[bytes] = []
        for stream, tag, text in _LINE.findall(block + newline):
            if stream != current and texts:
                yield Chunk(_STREAMS[current], b"".join(texts))
                texts = []
            current = stream
            texts.append(text if tag == b"F" else text[:-1])
        if texts:
            yield Chunk(_STREAMS[current], b"".join(texts))

    def skip_rest(self) -> None:
        """Forget a line that was cut off: the next piece begins with another."""
        self._rest = b""
