"""Mutual TLS with the cluster's registry: certificates that stay in memory, and a plain local port for Docker."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator

from cloudmesh.cluster.core.certificates import REGISTRY_NAME
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.ssh.tunnel import Listener

_CHUNK = 1 << 16
_TIMEOUT = 15.0  # seconds for TCP and the TLS handshake


def client_context(ca_pem: bytes, cert_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    """Return a context that trusts the cluster's CA alone and shows a client certificate.

    Args:
        ca_pem: the CA's certificate.
        cert_pem: the client's certificate.
        key_pem: its private key; it is never in a file that others, or later readers, can open.

    Raises:
        ClusterError: one of them is malformed, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
        with _as_file(cert_pem.rstrip() + b"\n" + key_pem) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise ClusterError(f"the cluster's registry certificate cannot be used: {error}") from error
    return context


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give a path to `content`, as the ssl module reads keys from files only; it is memory where the system can."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        with os.fdopen(os.memfd_create("key", os.MFD_CLOEXEC), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # mode 0600
            file.write(content)
            file.flush()
            yield file.name


class TlsProxy(Listener):
    """A plain port on 127.0.0.1 that leads into TLS towards another local port; a context manager.

    Args:
        port: on 127.0.0.1, where the registry answers (through a tunnel).
        context: from `client_context`.

    Attributes:
        port: the plain port.
        failure: why the last connection could not be made; empty if it could. A client only sees that it was closed.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._destination = ("127.0.0.1", port)
        self._context = context
        self.failure = ""
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        """Carry one connection both ways, through a TLS session of its own."""
        try:
            with socket.create_connection(self._destination, _TIMEOUT) as server:
                stream = TlsStream(server, self._context)
                server.settimeout(None)
                self.failure = ""
                self.carry(client, stream)
        except OSError as error:  # ssl.SSLError is one
            self.failure = f"no TLS with the registry: {error}"


class TlsStream:
    """A TLS session that one thread reads while another writes, which `ssl.SSLSocket` does not allow.

    Args:
        server: a connected socket; its timeout is the handshake's.
        context: from `client_context`.

    Raises:
        OSError: the connection ended, or (`ssl.SSLError`) the handshake failed.
    """

    def __init__(self, server: socket.socket, context: ssl.SSLContext) -> None:
        self._server = server
        self._lock = threading.Lock()  # guards the session, never a wait for the network
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ready = bytearray()  # read before it was asked for
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=REGISTRY_NAME)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._shakes_hands():
            self._receive()

    def recv(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end.

        Raises:
            OSError: the connection broke.
        """
        while True:
            with self._lock:
                if self._ready:
                    data = bytes(self._ready[:size])
                    del self._ready[:size]
                    return data
                try:
                    return self._session.read(size)
                except ssl.SSLZeroReturnError:
                    return b""
                except ssl.SSLWantReadError:
                    pass
            self._receive()

    def sendall(self, data: bytes, /) -> None:
        """Send `data`; by one thread at a time.

        Raises:
            OSError: the connection broke.
        """
        with self._lock:
            rest = memoryview(data)
            while rest:
                rest = rest[self._session.write(rest) :]
            encrypted = self._outgoing.read()
        self._server.sendall(encrypted)

    def shutdown_write(self) -> None:
        """Tell the server that nothing more will be sent."""
        with self._lock:
            # The goodbye looks for the server's own, and drops the data that it meets on the way.
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while data := self._session.read(_CHUNK):
                    self._ready += data
            with contextlib.suppress(ssl.SSLError):  # it wants the server's own goodbye, for which recv waits
                self._session.unwrap()
            goodbye = self._outgoing.read()
        self._server.sendall(goodbye)

    def close(self) -> None:
        """End both directions at once."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def _shakes_hands(self) -> bool:
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._server.sendall(self._outgoing.read())
        return True

    def _receive(self) -> None:
        data = self._server.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server closed the connection")
        with self._lock:
            self._incoming.write(data)
