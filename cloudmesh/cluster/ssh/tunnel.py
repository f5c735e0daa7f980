"""Local ports whose connections are passed on: the listener that all of them share, and the one that uses SSH."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Protocol

from cloudmesh.cluster.ssh.transport import Transport

_CHUNK = 1 << 16
_OPEN = 15.0  # seconds to open a channel


class _ByteStream(Protocol):
    """What sockets and SSH channels have in common."""

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...

    def close(self) -> None: ...


class Listener(contextlib.AbstractContextManager["Listener"]):
    """A port on 127.0.0.1; `serve` runs in a thread for every connection. A context manager, which closes the port.

    Attributes:
        port: the port on which it listens.
        failure: why the last connection failed, as its client only sees that it was closed; empty if it succeeded.
    """

    def __init__(self) -> None:
        self.failure = ""
        self._lock = threading.Lock()
        self._open: set[_ByteStream] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end all connections."""
        with self._lock:
            self._closed = True
            # Clients first; otherwise they would still receive what the far side sends when it is cut off.
            streams = sorted(self._open, key=lambda stream: not isinstance(stream, socket.socket))
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept; close alone does not
        self._listener.close()
        for stream in streams:
            _abort(stream)

    def serve(self, client: socket.socket) -> None:
        """Serve one connection until it ends; called in a new thread for every connection."""
        raise NotImplementedError

    def carry(self, client: socket.socket, server: _ByteStream) -> None:
        """Copy in both directions until both have ended or this listener is closed; then close `server`."""
        try:
            if self.track(server):
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()
        finally:
            server.close()
            self.untrack(server)

    def track(self, stream: _ByteStream) -> bool:
        """Register `stream`, which `close` will end; return False if the listener is closed already."""
        with self._lock:
            self._open.add(stream)
            return not self._closed

    def untrack(self, stream: _ByteStream) -> None:
        """Remove `stream`, which has ended, from the streams that `close` ends."""
        with self._lock:
            self._open.discard(stream)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self.track(client):
                self.serve(client)
        finally:
            client.close()
            self.untrack(client)


class Tunnel(Listener):
    """A port on 127.0.0.1 whose connections go through an SSH connection to a port behind it.

    Args:
        transport: the SSH connection.
        address: the destination, a name or address that the host at the other end resolves.
        port: TCP port of the destination.
    """

    def __init__(self, transport: Transport, address: str, port: int) -> None:
        self._transport = transport
        self._destination = (address, port)
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        """Carry one connection in both directions, through its own channel."""
        try:
            channel = self._transport.open_channel(
                "direct-tcpip", self._destination, client.getpeername()[:2], timeout=_OPEN
            )
        except Exception as error:  # whatever the reason, all that a client can see is that its connection ends
            self.failure = self._explain(error)
            return
        self.failure = ""
        self.carry(client, channel)

    def _explain(self, error: Exception) -> str:
        address, port = self._destination
        if "prohibited" in str(error).lower():  # RFC 4254, reason code 1
            return f"sshd there forbids forwarding to {address}:{port} (AllowTcpForwarding, PermitOpen)"
        return f"nothing answers there at {address}:{port}" if "connect failed" in str(error).lower() else ""


def _copy(source: _ByteStream, sink: _ByteStream) -> None:
    """Copy until `source` ends, then end writing to `sink`; the other direction may go on."""
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        _end_writing(sink)
    except (OSError, EOFError):
        _abort(source)
        _abort(sink)


def _end_writing(stream: _ByteStream) -> None:
    if isinstance(stream, socket.socket):
        stream.shutdown(socket.SHUT_WR)
    else:
        stream.shutdown_write()  # type: ignore[attr-defined]


def _abort(stream: _ByteStream) -> None:
    """End both directions at once, which also wakes threads that read."""
    with contextlib.suppress(OSError, EOFError):
        if isinstance(stream, socket.socket):
            stream.shutdown(socket.SHUT_RDWR)
        else:
            stream.close()
