"""Speaks to a running `ssh` that is a control master, by OpenSSH's multiplexing protocol (its file PROTOCOL.mux).

The master has the SSH connection. Here, each channel is a connection to the master's socket, over which it is told what
to run or where to connect, and is given the far ends of socket pairs as the channel's streams.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable

_VERSION = 4
_HELLO = 0x00000001
_NEW_SESSION = 0x10000002
_ALIVE_CHECK = 0x10000004
_NEW_FORWARD = 0x10000008
_DENIED = 0x80000002
_FAILURE = 0x80000003
_EXIT = 0x80000004
_ALIVE = 0x80000005
_OPENED = 0x80000006

_NO_ESCAPES = 0xFFFFFFFF  # no character of stdin is a command to ssh
_REQUESTS = itertools.count(1)


class _Master:
    """A connection to the master's socket, after the greeting.

    Raises:
        OSError: there is no master, or it does not speak this protocol.
        TimeoutError: it does not answer.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.settimeout(timeout)
            self.socket.connect(path)
            self.send(_HELLO, _VERSION)
            kind, body = self.receive()
            if kind != _HELLO or struct.unpack_from(">I", body)[0] != _VERSION:
                raise OSError("the control master speaks another protocol")
        except BaseException:
            self.socket.close()
            raise

    def send(self, kind: int, *fields: int | str) -> None:
        """Send a message of numbers and strings."""
        body = struct.pack(">I", kind)
        for value in fields:
            if isinstance(value, int):
                body += struct.pack(">I", value)
            else:
                data = value.encode("utf-8", "surrogateescape")
                body += struct.pack(">I", len(data)) + data
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def pass_on(self, stream: socket.socket) -> None:
        """Give the master one end of a stream; ours of it is closed."""
        with stream:
            socket.send_fds(self.socket, [b"\0"], [stream.fileno()])

    def receive(self) -> tuple[int, bytes]:
        """Return the kind of the next message, and what follows; EOFError at the end."""
        (size,) = struct.unpack(">I", self._read(4))
        message = self._read(size)
        return struct.unpack_from(">I", message)[0], message[4:]

    def expect(self, wanted: int) -> None:
        """Return when the request was granted.

        Raises:
            paramiko.ChannelException: it was refused.
        """
        kind, body = self.receive()
        if kind != wanted:
            import paramiko

            reason = body[8:].decode("utf-8", "replace") if kind in (_DENIED, _FAILURE) else f"answer {kind:#x}"
            raise paramiko.ChannelException(1, reason)

    def end(self) -> None:
        """End the connection, which wakes a thread that reads."""
        _end(self.socket)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data


class MuxStream:
    """A `transport.ByteStream` whose directions are socket pairs of their own, so that each can end for itself."""

    _DIRECTIONS = 2  # outgoing, incoming

    def __init__(self) -> None:
        self.closed = False
        self._timeout: float | None = None
        self._master: _Master | None = None
        self._pairs: tuple[_Pair, ...] = ()

    @property
    def _closed(self) -> bool:  # as sockets have it, where paramiko runs through this stream
        return self.closed

    def settimeout(self, seconds: float | None, /) -> None:
        """Let `recv` and `send` raise TimeoutError after this many seconds; None: never."""
        self._timeout = seconds

    def recv(self, size: int, /) -> bytes:
        """Return the next bytes; b"" at the end."""
        return self._pairs[1].recv(size, self._timeout)

    def send(self, data: bytes, /) -> int:
        """Send some of the bytes, and return how many."""
        self._pairs[0].ours.settimeout(self._timeout)
        return self._pairs[0].ours.send(data)

    def sendall(self, data: bytes, /) -> None:
        """Send all the bytes."""
        self._pairs[0].ours.settimeout(self._timeout)
        self._pairs[0].ours.sendall(data)

    def shutdown_write(self) -> None:
        """End the outgoing direction; the other one may go on."""
        self._pairs[0].ours.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End both directions, which also wakes threads that read."""
        self.closed = True
        for pair in self._pairs:
            pair.end()
        if self._master:
            self._master.end()

    def connect_forward(self, path: str, address: str, port: int, timeout: float) -> None:
        """Have the master at `path` connect to `address`:`port` as seen from the host."""
        self._open(path, timeout, _NEW_FORWARD, "", address, port)

    def _open(self, path: str, timeout: float, kind: int, *fields: int | str) -> _Master:
        master = _Master(path, timeout)
        pairs = tuple(_Pair() for _ in range(self._DIRECTIONS))
        try:
            master.send(kind, next(_REQUESTS) & 0xFFFF, *fields)
            for pair in pairs:
                master.pass_on(pair.theirs)
            master.expect(_OPENED)
        except BaseException:
            for pair in pairs:
                pair.end()
            master.end()
            raise
        self._master, self._pairs = master, pairs
        return master


class MuxChannel(MuxStream):
    """A `transport.SessionChannel`.

    Args:
        path: the master's socket.
        timeout: seconds to start the command.
    """

    _DIRECTIONS = 3  # outgoing, incoming, stderr

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__()
        self.status_event = threading.Event()
        self.exit_status = -1
        self._path = path
        self._open_timeout = timeout

    def exec_command(self, command: str, /) -> None:
        """Start the command; paramiko.ChannelException: sshd refuses it."""
        # reserved, terminal, X11, agent, subsystem, escape character, kind of the terminal
        fields = ("", 0, 0, 0, 0, _NO_ESCAPES, "")
        master = self._open(self._path, self._open_timeout, _NEW_SESSION, *fields, command)
        threading.Thread(target=self._wait, args=(master,), daemon=True).start()

    def recv_stderr(self, size: int, /) -> bytes:
        """Return the next bytes of the command's stderr; b"" at the end."""
        return self._pairs[2].recv(size, self._timeout)

    def _wait(self, master: _Master) -> None:
        """Wait for the command's end."""
        master.socket.settimeout(None)
        with contextlib.suppress(OSError, EOFError):
            while True:
                kind, body = master.receive()
                if kind == _EXIT:
                    self.exit_status = struct.unpack_from(">I", body, 4)[0]
        self.closed = True
        self.status_event.set()


class MuxTransport:
    """A `transport.Transport` that is a control master's connection.

    Args:
        path: the master's socket.
        timeout: seconds for the master to answer.
        on_close: ends the master; None: it is not ours to end.

    Raises:
        OSError, TimeoutError: there is no master that answers.
    """

    def __init__(self, path: str, timeout: float, on_close: Callable[[], None] | None = None) -> None:
        self._path = path
        self._on_close = on_close
        self._ended = threading.Event()
        self._watched = _Master(path, timeout)
        self._watched.send(_ALIVE_CHECK, next(_REQUESTS) & 0xFFFF)
        self._watched.expect(_ALIVE)
        threading.Thread(target=self._watch, daemon=True).start()

    def open_session(self, *, timeout: float) -> MuxChannel:
        """Return a channel for a command."""
        self._check_active()
        return MuxChannel(self._path, timeout)

    def open_channel(
        self, kind: str, dest_addr: tuple[str, int], src_addr: tuple[str, int], *, timeout: float
    ) -> MuxStream:
        """Return a connection to an address and port, as seen from the host."""
        del kind, src_addr  # this protocol has only the one kind, and names no source
        self._check_active()
        stream = MuxStream()
        stream.connect_forward(self._path, *dest_addr, timeout)
        return stream

    def global_request(self, kind: str, *, wait: bool) -> None:
        """Do nothing: the master itself asks the host whether it is there, and ends where it is not."""

    def is_active(self) -> bool:
        """Return whether the connection stands."""
        return not self._ended.is_set()

    def join(self, timeout: float) -> None:
        """Return when the connection has ended, or after `timeout` seconds."""
        self._ended.wait(timeout)

    def close(self) -> None:
        """End the connection and all its channels; one that somebody else made is left to them."""
        self._ended.set()
        self._watched.end()
        if self._on_close:
            self._on_close()

    def _check_active(self) -> None:
        if self._ended.is_set():
            raise EOFError

    def _watch(self) -> None:
        self._watched.socket.settimeout(None)
        with contextlib.suppress(OSError, EOFError):
            self._watched.receive()
        self._ended.set()


class _Pair:
    """Both ends of a stream between this program and the master."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    def recv(self, size: int, timeout: float | None) -> bytes:
        self.ours.settimeout(timeout)
        try:
            return self.ours.recv(size)
        except ConnectionError:  # the other end was closed with bytes of ours unread
            return b""

    def end(self) -> None:
        _end(self.ours)
        self.theirs.close()


def _end(stream: socket.socket) -> None:
    """End a stream in both directions.

    It is not closed: a thread may still read from it, and the number of a closed file may be another's a moment later.
    The last reference to it closes it.
    """
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)
