"""Reads the log that the Docker daemon keeps of a container by its driver "local", of which a host saves a copy.

An entry is its size (4 bytes), a message of protocol buffers, and its size again. The message's fields are in moby's
api/types/plugins/logdriver/entry.proto: source (1), time (2), line (3), whether the line is in several entries (4), and
if so, about this part of it (5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cloudmesh.cluster.providers.base import Chunk

_SIZE = struct.Struct(">L")
# How messages begin, which go on with a time of nine bytes and, nearly all of them, end with the whole line.
_BEGINNINGS = {b"\n\x06stdout\x10": "stdout", b"\n\x06stderr\x10": "stderr"}
_BEGINNING_BYTES, _TIME_BYTES, _LINE_KEY = 9, 9, 0x1A
_MORE = 0x80  # of a number, a byte with this bit is not the last
_VARINT, _BYTES = 0, 2  # types of fields
_SOURCE, _LINE, _PART, _IS_LAST = 1, 3, 5, 1  # numbers of fields


class DockerLog:
    """One log, which comes in pieces that may end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, piece: bytes) -> Iterator[Chunk]:
        """Yield what the log has of the container's output up to the end of its next piece."""
        data = self._rest + piece
        position, total, read_size = 0, len(data), _SIZE.unpack_from
        stream = ""
        lines: list[bytes] = []
        while position + _SIZE.size <= total:
            start = position + _SIZE.size
            end = start + read_size(data, position)[0]
            if end + _SIZE.size > total:
                break
            source, line = _read_whole_line(data, start, end) or _read_message(data[start:end])
            if source != stream and lines:
                yield Chunk(stream, b"".join(lines))
                lines = []
            stream = source
            lines.append(line)
            position = end + _SIZE.size
        self._rest = data[position:]
        if lines:
            yield Chunk(stream, b"".join(lines))

    def skip_rest(self) -> None:
        """Forget an entry that was cut off: the next piece begins with another."""
        self._rest = b""


def _read_whole_line(data: bytes, start: int, end: int) -> tuple[str, bytes] | None:
    """Return the stream and the bytes of a message that is as nearly all are; None of any other. It is fast."""
    stream = _BEGINNINGS.get(data[start : start + _BEGINNING_BYTES])
    key = start + _BEGINNING_BYTES + _TIME_BYTES
    if not stream or key >= end or data[key] != _LINE_KEY or data[key - 1] >= _MORE:
        return None
    size, position = data[key + 1], key + 2
    if size >= _MORE:
        size, position = _varint(data, key + 1)
    return (stream, data[position:end] + b"\n") if position + size == end else None


def _read_message(message: bytes) -> tuple[str, bytes]:
    """Return the stream and the bytes of any message; a line ends with an entry that is not a part, or is the last."""
    fields = dict(_fields(message))
    source, line, part = (fields.get(number, b"") for number in (_SOURCE, _LINE, _PART))
    is_cut = bool(part) and not dict(_fields(part)).get(_IS_LAST)
    return source.decode(), line if is_cut else line + b"\n"


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the content of each field; of a number that is not 0, one byte that says so.

    Raises:
        ValueError: the message has a field of a type that the daemon does not write.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind not in (_VARINT, _BYTES):
            raise ValueError(f"field {number} has type {kind}")
        value, position = _varint(message, position)
        if kind == _BYTES:
            yield number, message[position : position + value]
            position += value
        elif value:
            yield number, b"1"


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the number that begins at a position, seven bits in each byte, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < _MORE:
            return value, position
