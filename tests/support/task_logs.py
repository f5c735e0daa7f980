"""The logs of tasks as Docker's driver "local" and containerd write them."""

from __future__ import annotations

import struct

# A time as Docker writes it.
TIME = b"\x10\xac\xdd\xa2\xfa\xeb\xb1\x9c\x94\x16"
# What Docker says of a part of a line: that there is more of it, and that it is the last.
MORE, LAST = b"\x12\x02id\x18\x01", b"\x08\x01\x12\x02id\x18\x02"


def docker_entry(text: bytes, stream: str = "stdout", part: bytes | None = None) -> bytes:
    """Return an entry of the daemon's log, as Docker writes it; `part` is what it says of a part of a line."""
    line = b"\x1a" + _number(len(text)) + text if text else b""
    about = b"" if part is None else b"\x20\x01\x2a" + _number(len(part)) + part
    message = b"\n\x06" + stream.encode() + TIME + line + about
    size = struct.pack(">L", len(message))
    return size + message + size


def cri_line(text: bytes, tag: str = "F", stream: str = "stdout") -> bytes:
    """Return a line of containerd's log; the tag P says that the task's line goes on."""
    return f"2026-11-24T06:00:00.{len(text) or 1}Z {stream} {tag} ".encode() + text + b"\n"


def _number(value: int) -> bytes:
    """Return a number as protocol buffers have it."""
    more, last = [], value
    while last >= 0x80:
        more.append(last & 0x7F | 0x80)
        last >>= 7
    return bytes([*more, last])
