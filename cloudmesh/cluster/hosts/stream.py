"""What a remote command prints, as a file to read from."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from cloudmesh.cluster.hosts.channel import Command

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Stream(io.RawIOBase):
    """The stdout of a running command; nothing of it is kept.

    Args:
        command: that runs.
        silence: seconds for which it may print nothing; TimeoutError then.
    """

    def __init__(self, command: Command, silence: float) -> None:
        self._command = command
        self._silence = silence
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True: that is what it is for."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill a part of `buffer` and return how much; 0 at the end."""
        if not self._rest:
            self._rest = memoryview(self._command.read(self._silence))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._rest))
        target[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
