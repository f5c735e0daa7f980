"""Mutual TLS with the cluster's servers: certificates that stay in memory, and a local port that leads into TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.ssh.tls_errors import explain
from cloudmesh.cluster.ssh.tunnel import Listener

_CHUNK = 1 << 16
_TIMEOUT = 15.0  # seconds for TCP and the TLS handshake


def client_context(
    ca_pem: bytes, cert_pem: bytes, key_pem: bytes, *, purpose: str = "the cluster's registry"
) -> ssl.SSLContext:
    """Return a TLS context that trusts one certificate authority only and presents a client certificate.

    Args:
        ca_pem: the authority's certificate.
        cert_pem: the client's certificate.
        key_pem: the private key of `cert_pem`; it is not left in any file that could be opened by name.
        purpose: the server that the certificate is for, as messages name it.

    Raises:
        ClusterError: a certificate or the key is malformed, or the key does not belong to `cert_pem`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
        with _as_file(cert_pem.rstrip() + b"\n" + key_pem) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise ClusterError(f"the certificate for {purpose} cannot be used: {error}") from error
    return context


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Yield a path to `content`, in memory where possible, as the ssl module reads keys from files only."""
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
    """A plain port on 127.0.0.1 whose connections are carried over TLS to another local port; a context manager.

    Args:
        port: port on 127.0.0.1 at which the TLS server answers (through a tunnel).
        context: from `client_context`.
        server_name: the DNS name that the server's certificate must have.

    Attributes:
        port: the plain port.
    """

    def __init__(self, port: int, context: ssl.SSLContext, server_name: str) -> None:
        self._destination = ("127.0.0.1", port)
        self._context = context
        self._server_name = server_name
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        """Carry one connection in both directions, through its own TLS session."""
        try:
            with socket.create_connection(self._destination, _TIMEOUT) as server:
                stream = TlsStream(server, self._context, self._server_name)
                server.settimeout(None)
                self.failure = ""
                self.carry(client, stream)
                if stream.refusal:  # from TLS 1.3 on, a server refuses a certificate after the handshake
                    self._note_failure(stream.refusal)
        except OSError as error:  # ssl.SSLError is one
            self._note_failure(error)

    def _note_failure(self, error: OSError) -> None:
        self.failure = f"no TLS with {self._server_name}: {explain(error) or error}"


class TlsStream:
    """A TLS session in which one thread can read while another writes, which `ssl.SSLSocket` does not allow.

    Args:
        server: a connected socket; its timeout limits the handshake.
        context: from `client_context`.
        server_name: the DNS name that the server's certificate must have.

    Attributes:
        refusal: with which error the session ended, if with one of TLS.

    Raises:
        OSError: the connection ended, or (`ssl.SSLError`) the handshake failed.
    """

    def __init__(self, server: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        self.refusal: ssl.SSLError | None = None
        self._server = server
        self._lock = threading.Lock()  # guards the session; never held while waiting for the network
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ready = bytearray()  # decrypted data that `recv` has not returned yet
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._try_handshake():
            self._receive()

    def recv(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" at the end.

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
                except ssl.SSLError as error:
                    self.refusal = error
                    raise
            self._receive()

    def sendall(self, data: bytes, /) -> None:
        """Send `data`; only one thread may call this at a time.

        Raises:
            OSError: the connection broke.
        """
        with self._lock:
            unsent = memoryview(data)
            while unsent:
                unsent = unsent[self._session.write(unsent) :]
            encrypted = self._outgoing.read()
        self._server.sendall(encrypted)

    def shutdown_write(self) -> None:
        """Tell the server that nothing more will be sent."""
        with self._lock:
            # `unwrap` looks for the server's close_notify and drops the data before it; so that data is read first.
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while data := self._session.read(_CHUNK):
                    self._ready += data
            with contextlib.suppress(ssl.SSLError):  # it wants the server's close_notify, for which recv waits
                self._session.unwrap()
            close_notify = self._outgoing.read()
        self._server.sendall(close_notify)

    def close(self) -> None:
        """End both directions at once."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def _try_handshake(self) -> bool:
        """Take the handshake as far as the data received so far allows; return whether it is complete."""
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
