"""One remote command on an SSH channel of its own, with all three of its streams served at once."""

from __future__ import annotations

import codecs
import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko
    from typing_extensions import Buffer, Self


class Closing:
    """A context manager that closes itself."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what this holds."""
        raise NotImplementedError


_CHUNK = 1 << 18
_STDERR_KEPT = 1 << 16
_REFUSALS = 2.0  # seconds for which sshd may refuse a channel


@dataclass(frozen=True)
class RootAccess:
    """How commands become root.

    Attributes:
        prefix: goes before the command.
        stdin: goes before the command's own stdin; holds the password, which is never in any argv.
    """

    prefix: str = ""
    stdin: bytes = field(default=b"", repr=False)


class RemoteCommand(Closing):
    """A running remote command; a context manager, which closes the channel.

    Args:
        transport: an authenticated SSH connection.
        command: for the login shell.
        payload: goes to its stdin.
        keep_open: leave stdin open after the payload.
        timeout: seconds to open the channel.

    Raises:
        paramiko.SSHException: no channel could be opened.
    """

    def __init__(
        self, transport: paramiko.Transport, command: str, payload: bytes, *, keep_open: bool = False, timeout: float
    ) -> None:
        self.channel = _open_channel(transport, timeout)
        self._transport = transport
        self._payload = payload
        self._keep_open = keep_open
        self._stderr = b""
        self.channel.settimeout(timeout)
        self.channel.exec_command(command)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._write, self._read_stderr)]
        for thread in self._threads:
            thread.start()

    def lines(self, deadline: float) -> Iterator[str]:
        """Yield the lines of stdout, without newlines, until it ends.

        Args:
            deadline: of `time.monotonic`.

        Raises:
            TimeoutError: the deadline has come.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest: list[str] = []  # pieces of the line that has not ended yet
        while data := self._receive(deadline):
            first, *others = decoder.decode(data).split("\n")
            rest.append(first)
            for piece in others:
                yield "".join(rest).rstrip("\r")
                rest = [piece]
        if last := "".join(rest) + decoder.decode(b"", final=True):
            yield last

    def read(self, silence: float) -> bytes:
        """Return the next bytes of stdout, as they are; none at its end.

        Args:
            silence: seconds to wait for them.

        Raises:
            TimeoutError: none came.
        """
        return self._receive(time.monotonic() + silence)

    def status(self, deadline: float) -> int:
        """Return the exit status; -1 if the command was killed by a signal.

        Raises:
            TimeoutError: the deadline has come.
            ConnectionError: the link was cut.
        """
        if not self.channel.status_event.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        self._threads[1].join(1.0)
        status = int(self.channel.exit_status)
        if status == -1 and self._link_is_gone():
            raise ConnectionError("it was cut while the host was at work")
        return status

    @property
    def stderr(self) -> str:
        """The last 64 KiB of stderr so far."""
        return self._stderr.decode("utf-8", "replace")

    def close(self) -> None:
        """Close the channel; what the command does then is its own business."""
        self.channel.close()

    def _receive(self, deadline: float) -> bytes:
        self.channel.settimeout(max(0.001, deadline - time.monotonic()))
        data: bytes = self.channel.recv(_CHUNK)
        return data

    def _link_is_gone(self) -> bool:
        # A dying transport closes its channels a moment before it says that it is dead; a live one answers exit-signal.
        self._transport.join(0.5)
        return not self._transport.is_active()

    def _write(self) -> None:
        view, sent = memoryview(self._payload), 0
        try:
            while sent < len(view):
                try:
                    sent += self.channel.send(bytes(view[sent : sent + _CHUNK]))
                except TimeoutError:  # the timeout is the reader's; a full window only means that the host is busy
                    if self.channel.closed:
                        return
            if not self._keep_open:
                self.channel.shutdown_write()
        except OSError:
            pass  # the command has ended without reading all; its exit status tells the rest

    def _read_stderr(self) -> None:
        while True:
            try:
                data = self.channel.recv_stderr(_CHUNK)
            except TimeoutError:
                continue
            if not data:
                return
            self._stderr = (self._stderr + data)[-_STDERR_KEPT:]


def _open_channel(transport: paramiko.Transport, timeout: float) -> paramiko.Channel:
    """Open a channel; tried again for a while where sshd refuses, as MaxSessions still counts those that just ended."""
    import paramiko

    deadline = time.monotonic() + _REFUSALS
    while True:
        try:
            return transport.open_session(timeout=timeout)
        except paramiko.ChannelException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class OutputStream(io.RawIOBase):
    """The stdout of a running command; nothing of it is kept.

    Args:
        command: that runs.
        silence: seconds for which it may print nothing; TimeoutError then.
    """

    def __init__(self, command: RemoteCommand, silence: float) -> None:
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
