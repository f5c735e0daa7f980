"""What the rest asks of an authenticated SSH connection: paramiko's transport fits it, and `mux.MuxTransport` does.

Errors are those of paramiko and of sockets, which `connection.translate_errors` translates: TimeoutError,
paramiko.ChannelException where the host's sshd refuses a channel, paramiko.SSHException, OSError, EOFError.
"""

from __future__ import annotations

import threading
from typing import Protocol


class ByteStream(Protocol):
    """A connection to a port behind the host, by way of its sshd."""

    def settimeout(self, seconds: float | None, /) -> None:
        """Let `recv` and `send` raise TimeoutError after this many seconds; None: never."""

    def recv(self, size: int, /) -> bytes:
        """Return the next bytes; b"" at the end."""

    def send(self, data: bytes, /) -> int:
        """Send some of the bytes, and return how many."""

    def sendall(self, data: bytes, /) -> None:
        """Send all the bytes."""

    def shutdown_write(self) -> None:
        """End the outgoing direction; the other one may go on."""

    def close(self) -> None:
        """End both directions, which also wakes threads that read."""


class SessionChannel(ByteStream, Protocol):
    """A command on the host, with its three streams and its exit status.

    Attributes:
        status_event: is set when the command or the connection has ended.
        exit_status: the command's; -1 where a signal or the end of the connection ended it.
        closed: whether the channel was closed, from either side.
    """

    status_event: threading.Event
    exit_status: int
    closed: bool

    def exec_command(self, command: str, /) -> None:
        """Start the command, which the user's login shell runs; once for each channel.

        Raises:
            paramiko.ChannelException: sshd refuses it, as it allows no more sessions. Nothing was started.
        """

    def recv_stderr(self, size: int, /) -> bytes:
        """Return the next bytes of the command's stderr; b"" at the end."""


class Transport(Protocol):
    """An authenticated connection to a host's sshd, which any number of threads share."""

    def open_session(self, *, timeout: float) -> SessionChannel:
        """Return a new channel for a command."""

    def open_channel(
        self, kind: str, dest_addr: tuple[str, int], src_addr: tuple[str, int], *, timeout: float
    ) -> ByteStream:
        """Return a new channel of kind "direct-tcpip" to an address and port, as seen from the host."""

    def global_request(self, kind: str, *, wait: bool) -> object:
        """Return when the host has answered a request; any answer will do."""

    def is_active(self) -> bool:
        """Return whether the connection stands."""

    def join(self, timeout: float) -> None:
        """Return when the connection has ended, or after `timeout` seconds."""

    def close(self) -> None:
        """End the connection and all its channels."""
