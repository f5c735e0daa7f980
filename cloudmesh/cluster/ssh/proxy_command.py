"""Runs a ProxyCommand, whose stdin and stdout are the connection to a host."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile


class ProxyProcess:
    """A running ProxyCommand.

    Args:
        command: is run by the user's shell, as OpenSSH does; the user wrote it into `~/.ssh/config`.

    Attributes:
        stream: this program's end of the connection.
    """

    def __init__(self, command: str) -> None:
        self.stream, process_end = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        with process_end:
            self._process = subprocess.Popen(  # noqa: S603 - a ProxyCommand is the user's own shell text
                [os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}"],
                stdin=process_end.fileno(),
                stdout=process_end.fileno(),
                stderr=self._errors,
            )

    def last_words(self) -> str:
        """Return the last line that the command wrote to stderr; empty: none."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4096))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def close(self) -> None:
        """End the process and the connection."""
        self.stream.close()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
