"""Runs one remote command on its own SSH channel, and serves its three streams at the same time."""

from __future__ import annotations

import codecs
import contextlib
import io
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.ssh.frame import ErrorFrame, Frame

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from cloudmesh.cluster.ssh.transport import SessionChannel, Transport

_CHUNK = 1 << 18  # bytes that are read or written at a time
_STDERR_SIZE = 1 << 16  # bytes from the end of stderr that are stored
_SHELL_END = 1.0  # seconds that a login shell gets to end after the command
_CUT = (OSError, EOFError)  # what paramiko raises on a connection that has ended
_REFUSAL_SECONDS = 2.0  # sshd may refuse a channel for this long


class NotBegunError(TimeoutError):
    """The time was over before the login shell had come to the command.

    Args:
        command: the command; what the login shell printed instead is in its `preamble` and `stderr`.
    """

    def __init__(self, command: RemoteCommand) -> None:
        super().__init__()
        self.command = command


class RemoteCommand(contextlib.AbstractContextManager["RemoteCommand"]):
    """A running remote command; as a context manager, it closes the channel at the end.

    All that it serves is from what the command runs between the markers of its frame, not from the login shell.

    Args:
        transport: an authenticated SSH connection.
        command: is run by the user's login shell; prints the frame's markers on stdout and stderr.
        token: what the markers are made of.
        payload: is sent to the command's stdin, piece by piece.
        keep_open: whether stdin stays open after the payload.
        timeout: seconds to open the channel.

    Attributes:
        payload_error: what the payload raised, after which the channel was closed; None as long as it has not.

    Raises:
        paramiko.SSHException: no channel could be opened.
    """

    def __init__(
        self,
        transport: Transport,
        command: str,
        token: str,
        payload: Iterable[bytes],
        *,
        keep_open: bool = False,
        timeout: float,
    ) -> None:
        self.channel = _start(transport, command, timeout)
        self._transport = transport
        self.payload_error: Exception | None = None
        self._payload = payload
        self._keep_open = keep_open
        self._frame = Frame(token)
        self._errors = ErrorFrame(token, _STDERR_SIZE)
        self._errors_ended = threading.Event()
        for target in (self._write, self._read_stderr):
            threading.Thread(target=target, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def lines(self, deadline: float) -> Iterator[str]:
        """Yield the lines of stdout, without newlines, until it ends.

        Args:
            deadline: until when, in the seconds of `time.monotonic`.

        Raises:
            TimeoutError: stdout has not ended at the deadline.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces: list[str] = []  # of the line that has not ended yet
        while data := self._receive(deadline):
            first, *others = decoder.decode(data).split("\n")
            pieces.append(first)
            for piece in others:
                yield "".join(pieces).rstrip("\r")
                pieces = [piece]
        if last := "".join(pieces) + decoder.decode(b"", final=True):
            yield last

    def read(self, silence: float) -> bytes:
        """Return the next bytes of stdout; b"" at its end.

        Args:
            silence: seconds to wait for bytes.

        Raises:
            TimeoutError: no byte came in that time.
        """
        return self._receive(time.monotonic() + silence)

    def status(self, deadline: float) -> int:
        """Wait for the command's end and return its exit status; -1 if it was killed by a signal.

        What it still prints is thrown away. A command that has not begun has the status of its login shell.

        Args:
            deadline: until when, in the seconds of `time.monotonic`.

        Raises:
            TimeoutError: the command has not ended at the deadline.
            ConnectionError: the SSH connection was cut.
        """
        while self._receive(deadline):
            pass
        if self._frame.status is None:
            return self._wait_for_shell(deadline)
        # sshd counts the session until the login shell has ended, too.
        self.channel.status_event.wait(_SHELL_END)
        self._errors_ended.wait(_SHELL_END)
        return self._frame.status

    @property
    def began(self) -> bool:
        """Whether the login shell has come to the command, as far as stdout was read."""
        return self._frame.began

    @property
    def preamble(self) -> str:
        """The first 4 KiB of what the login shell printed to stdout before the command."""
        return self._frame.preamble.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """What the command has written to stderr so far; of more than 64 KiB, the last 64 KiB.

        Of a command that has not begun, what the login shell has written.
        """
        return self._errors.content.decode("utf-8", "replace")

    def close(self) -> None:
        """Close the channel. The command may go on on the host, without its streams."""
        self.channel.close()

    def _receive(self, deadline: float) -> bytes:
        while self._frame.status is None:
            self.channel.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data: bytes = self.channel.recv(_CHUNK)
            except TimeoutError as error:
                if self.began:
                    raise
                raise NotBegunError(self) from error
            if not data:
                return self._frame.finish()
            if inside := self._frame.feed(data):
                return inside
        return b""

    def _wait_for_shell(self, deadline: float) -> int:
        if not self.channel.status_event.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        self._errors_ended.wait(_SHELL_END)
        status = int(self.channel.exit_status)
        if status == -1 and self._is_disconnected():
            raise ConnectionError("it was cut while the host was at work")
        if status == 0 and self.began:
            raise ConnectionError("the end of what the host printed did not arrive")
        return status

    def _is_disconnected(self) -> bool:
        # On a live transport, status -1 means that a signal ended the command (exit-signal). A dying transport closes
        # its channels, with the same status, a moment before it reports that it is dead.
        self._transport.join(0.5)
        return not self._transport.is_active()

    def _write(self) -> None:
        try:
            for piece in self._payload:
                if not self._send(piece):
                    return
        except Exception as error:  # whatever the payload's source raises
            self.payload_error = error
            with contextlib.suppress(*_CUT):
                self.channel.close()
            return
        if not self._keep_open:
            with contextlib.suppress(*_CUT):
                self.channel.shutdown_write()

    def _send(self, piece: bytes) -> bool:
        """Send all of a piece; False: the command has ended without reading it, and `status` returns how."""
        view, sent = memoryview(piece), 0
        while sent < len(view):
            try:
                sent += self.channel.send(bytes(view[sent : sent + _CHUNK]))
            except TimeoutError:  # the timeout is meant for the reader; here it only means that the host is busy
                if self.channel.closed:
                    return False
            except _CUT:
                return False
        return True

    def _read_stderr(self) -> None:
        while True:
            try:
                data = self.channel.recv_stderr(_CHUNK)
            except TimeoutError:
                continue
            self._errors.feed(data)
            if not data or self._errors.ended:
                self._errors_ended.set()
            if not data:
                return


def _start(transport: Transport, command: str, timeout: float) -> SessionChannel:
    """Start a command on a channel of its own.

    Where sshd refuses, try again for a while: MaxSessions still counts sessions that just ended.
    """
    import paramiko

    def try_to_start() -> SessionChannel:
        channel = transport.open_session(timeout=timeout)
        channel.settimeout(timeout)
        channel.exec_command(command)
        return channel

    return retry(
        try_to_start,
        lambda error: isinstance(error, paramiko.ChannelException),
        seconds=_REFUSAL_SECONDS,
        pause_seconds=0.05,
    )


class OutputStream(io.RawIOBase):
    """The stdout of a running command as a readable file; nothing that was read is stored.

    Args:
        command: the running command.
        silence: seconds to wait for the next bytes; reading raises TimeoutError if none come in that time.
    """

    def __init__(self, command: RemoteCommand, silence: float) -> None:
        self._command = command
        self._silence = silence
        self._unread = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill the beginning of `buffer` and return the number of bytes; 0 at the end."""
        if not self._unread:
            self._unread = memoryview(self._command.read(self._silence))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._unread))
        target[:count], self._unread = self._unread[:count], self._unread[count:]
        return count
