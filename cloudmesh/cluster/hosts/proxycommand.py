"""A ProxyCommand: a local process whose stdin and stdout are the connection."""

from __future__ import annotations

import contextlib
import socket
import subprocess


class ProxyProcess:
    """A running ProxyCommand.

    Args:
        command: for the local shell, as OpenSSH has it; it is the user's own.

    Attributes:
        stream: our end of the connection.
    """

    def __init__(self, command: str) -> None:
        self.stream, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S602 - a ProxyCommand is shell text by definition
                f"exec {command}", shell=True, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL
            )

    def close(self) -> None:
        """End the process."""
        self.stream.close()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
