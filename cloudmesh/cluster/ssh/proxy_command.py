"""Runs a ProxyCommand, whose stdin and stdout are the connection to a host."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO


class PipeStream:
    """This program's ends of two pipes, as a stream that paramiko takes for a socket."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._timeout: float | None = None
        os.set_blocking(outgoing.fileno(), False)

    @property
    def _closed(self) -> bool:  # as sockets have it
        return self._incoming.closed

    def settimeout(self, seconds: float | None, /) -> None:
        """Let `recv` and `send` raise TimeoutError after this many seconds; None: never."""
        self._timeout = seconds

    def recv(self, size: int, /) -> bytes:
        """Return the next bytes; b"" at the end."""
        with self._ready(self._incoming, select.POLLIN):
            return self._incoming.read(size)

    def send(self, data: bytes, /) -> int:
        """Send some of the bytes, and return how many."""
        with self._ready(self._outgoing, select.POLLOUT):
            return self._outgoing.write(data) or 0

    def close(self) -> None:
        """Close both pipes."""
        self._incoming.close()
        self._outgoing.close()

    @contextlib.contextmanager
    def _ready(self, end: IO[bytes], event: int) -> Iterator[None]:
        """Run the block once an end is ready; OSError: it was closed."""
        poll = select.poll()
        try:
            poll.register(end, event)
            if not poll.poll(None if self._timeout is None else 1000 * self._timeout):
                raise TimeoutError
            yield
        except ValueError as error:
            raise BrokenPipeError from error


class ProxyProcess:
    """A running ProxyCommand.

    Its stdin and stdout are pipes, as OpenSSH makes them: of a socket, bash believes that it comes from another
    machine, and reads the user's start-up file; and nothing can open /dev/stdin.

    Args:
        command: is run by the user's shell, as OpenSSH does; the user wrote it into `~/.ssh/config`.

    Attributes:
        stream: this program's end of the connection.
    """

    def __init__(self, command: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - a ProxyCommand is the user's own shell text
            [os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        assert self._process.stdout  # noqa: S101 - for the type checker
        assert self._process.stdin  # noqa: S101
        self.stream = PipeStream(self._process.stdout, self._process.stdin)

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
