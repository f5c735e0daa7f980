"""What a host's container engine has kept of a task's output, and what of it Nomad's own log lacks. Pure.

Source of the frames: Docker's Engine API, "Attach to a container".
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct(">BxxxL")  # the stream, and how many bytes of it follow
_STREAMS = {1: "stdout", 2: "stderr"}
# So many are compared before all are, which may be millions.
_MARK_BYTES = 64


def name(task: str) -> str:
    """Return the file, in an allocation's folder, that a task's output is kept in once it has ended."""
    return f"output.{task}"


def streams(framed: bytes) -> dict[str, bytes]:
    """Return what was written to each stream; nothing of a terminal's output, which has no frames."""
    found: dict[str, list[bytes]] = {stream: [] for stream in _STREAMS.values()}
    position = 0
    while position + _HEADER.size <= len(framed):
        number, size = _HEADER.unpack_from(framed, position)
        position += _HEADER.size
        if number in _STREAMS:
            found[_STREAMS[number]].append(framed[position : position + size])
        position += size
    return {stream: b"".join(pieces) for stream, pieces in found.items()}


def missing(told: bytes, kept: bytes) -> bytes:
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
