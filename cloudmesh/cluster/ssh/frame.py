"""Tells what we run on a host from what the login shell, its start-up files and its exit traps print around it."""

from __future__ import annotations

import secrets

_PREAMBLE_SIZE = 1 << 12  # bytes of what a shell printed before the frame that are stored


def make_token() -> str:
    """Return the text that the markers of one command are made of; nobody else knows it, so nobody can forge them."""
    return f"cms-{secrets.token_hex(16)}"


class Frame:
    """Takes stdout of a command apart: only what stands between the two markers is from what we run.

    The first marker is the token and "+" and a newline; the last is the token, "-", the exit status and a newline. Both
    are looked for in the middle of lines too, and all that stands between them is passed on byte for byte.

    Args:
        token: see `make_token`.

    Attributes:
        preamble: the first 4 KiB of what came before the first marker.
        began: whether the first marker has come.
        status: the exit status that the last marker tells; None: it has not come.
    """

    def __init__(self, token: str) -> None:
        self.preamble = b""
        self.began = False
        self.status: int | None = None
        self._first, self._last = _markers(token)
        self._unsure = b""  # the end of what came so far, which may be the beginning of a marker

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of stdout, and return those that are from what we run."""
        data, self._unsure = self._unsure + data, b""
        if self.status is not None:
            return b""
        if not self.began:
            before, marker, data = data.partition(self._first)
            if not marker:
                before, self._unsure = _split_unsure(before, self._first)
            self.preamble = (self.preamble + before)[:_PREAMBLE_SIZE]
            if not marker:
                return b""
            self.began = True
        inside, marker, rest = data.partition(self._last)
        if not marker:
            inside, self._unsure = _split_unsure(inside, self._last)
        elif b"\n" in rest:
            self.status = int(rest.partition(b"\n")[0])
        else:
            self._unsure = marker + rest
        return inside

    def finish(self) -> bytes:
        """Return the last bytes that are from what we run, where stdout has ended without the last marker."""
        rest, self._unsure = self._unsure, b""
        if self.began:
            return rest
        self.preamble = (self.preamble + rest)[:_PREAMBLE_SIZE]
        return b""


class ErrorFrame:
    """Takes the end of stderr apart; what came long ago is forgotten. Its markers have an "e" behind the token.

    Args:
        token: see `make_token`.
        size: how many bytes are stored.

    Attributes:
        ended: whether the last marker has come.
    """

    def __init__(self, token: str, size: int) -> None:
        self.ended = False
        self._first, self._last = _markers(f"{token}e")
        self._size = size
        self._stored = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of stderr."""
        if not self.ended:
            stored = self._stored + data
            self.ended = self._last in stored
            self._stored = stored[-self._size :]

    @property
    def content(self) -> bytes:
        """What stands between the markers; without the first one, all that came."""
        before, marker, after = self._stored.partition(self._first)
        return (after if marker else before).partition(self._last)[0]


def _markers(token: str) -> tuple[bytes, bytes]:
    return f"{token}+\n".encode(), f"{token}-".encode()


def _split_unsure(data: bytes, marker: bytes) -> tuple[bytes, bytes]:
    """Split off the end of `data` that may be the beginning of `marker`."""
    for size in range(min(len(marker) - 1, len(data)), 0, -1):
        if data.endswith(marker[:size]):
            return data[:-size], data[-size:]
    return data, b""
