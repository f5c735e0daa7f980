"""Mutual TLS: a real server that wants a client certificate, behind a plain local port."""

import datetime
import hashlib
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.listener import CHUNK, all_asked, asked, listening
from support.sshd import free_port
from support.waiting import wait_until

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.ssh.tls import TlsProxy, client_context

NAME = "registry.cloudmesh"


class Authority:
    """A CA that signs certificates for servers and clients."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self.pem = self._sign(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))

    def issue(self, name: str, days: int = 0) -> tuple[bytes, bytes]:
        """Return certificate and key; the certificate is valid for a day before and after the day in so many `days`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([x509.DNSName(name)]), days)
        form = serialization.PrivateFormat.PKCS8
        return certificate, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

    def _sign(self, subject, key, extension, days=0):
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateBuilder(
            self.name, subject, key.public_key(), x509.random_serial_number(), now - day, now + day
        )
        signed = builder.add_extension(extension, critical=True).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


@contextmanager
def echoing(directory: Path, authority: Authority, name: str = NAME, days: int = 0) -> Iterator[int]:
    """Yield the port of a server that sends everything back, over mutual TLS."""
    certificate, key = authority.issue(name, days)
    (directory / "server.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.load_verify_locations(cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED

    def serve(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as client:
            while data := client.recv(CHUNK):
                client.sendall(data)

    with listening(serve) as port:
        yield port


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def server(tmp_path, authority):
    with echoing(tmp_path, authority) as port:
        yield port


def test_a_plain_client_reaches_a_server_that_wants_a_certificate(authority, server):
    context = client_context(authority.pem, *authority.issue("operator"))
    data = os.urandom(8 << 20)
    with TlsProxy(server, context, NAME) as proxy:
        answer = asked(proxy.port, data)
        assert hashlib.sha256(answer).digest() == hashlib.sha256(data).digest()
        assert proxy.failure == ""


def test_many_clients_are_served_at_once(authority, server):
    payloads = {number: os.urandom(300000) for number in range(8)}
    with TlsProxy(server, client_context(authority.pem, *authority.issue("operator")), NAME) as proxy:
        assert all_asked(proxy.port, payloads) == payloads


def test_a_certificate_of_another_ca_is_refused(authority, server):
    stranger = Authority()
    with TlsProxy(server, client_context(authority.pem, *stranger.issue("operator")), NAME) as proxy:
        assert asked(proxy.port, b"hello") == b""


def test_a_server_of_another_ca_is_refused(authority, server):
    stranger = Authority()
    with TlsProxy(server, client_context(stranger.pem, *stranger.issue("operator")), NAME) as proxy:
        assert asked(proxy.port, b"hello") == b""
        assert "certificate verify failed" in proxy.failure


def test_a_server_of_another_name_is_refused(tmp_path, authority):
    context = client_context(authority.pem, *authority.issue("operator"))
    with echoing(tmp_path, authority, "other.cloudmesh") as other, TlsProxy(other, context, NAME) as proxy:
        assert asked(proxy.port, b"hello") == b""
        assert "registry.cloudmesh" in proxy.failure


@pytest.mark.parametrize(
    ("days", "cause"),
    [
        (-5, "the server's certificate has expired by this machine's clock"),
        (5, "the server's certificate is not valid yet by this machine's clock"),
    ],
)
def test_a_server_whose_certificate_is_not_valid_now_is_told_as_that(tmp_path, authority, days, cause):
    context = client_context(authority.pem, *authority.issue("operator"))
    with echoing(tmp_path, authority, days=days) as port, TlsProxy(port, context, NAME) as proxy:
        assert asked(proxy.port, b"hello") == b""
        assert cause in proxy.failure


def test_a_certificate_that_the_server_refuses_is_told_as_that(authority, server):
    causes = {
        "expired or not valid yet": authority.issue("operator", -5),
        "does not know the authority of this command's certificate": Authority().issue("operator"),
    }
    for cause, certificate in causes.items():
        with TlsProxy(server, client_context(authority.pem, *certificate), NAME) as proxy:
            assert asked(proxy.port, b"hello") == b""
            assert wait_until(lambda: proxy.failure, 5, pause=0.01)
            assert cause in proxy.failure


def test_nothing_listening_ends_the_connection_with_a_cause(authority):
    with TlsProxy(free_port(), client_context(authority.pem, *authority.issue("operator")), NAME) as proxy:
        assert asked(proxy.port, b"hello") == b""
        assert "refused" in proxy.failure


def test_closing_ends_connections_and_frees_the_port(authority, server):
    proxy = TlsProxy(server, client_context(authority.pem, *authority.issue("operator")), NAME)
    client = socket.create_connection(("127.0.0.1", proxy.port), 5)
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    proxy.close()
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 5)


def test_the_key_leaves_no_file(authority, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    client_context(authority.pem, *authority.issue("operator"))
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_another_certificate_is_one_clear_error(authority):
    certificate, _ = authority.issue("a")
    _, key = authority.issue("b")
    with pytest.raises(ClusterError, match="cannot be used"):
        client_context(authority.pem, certificate, key)
    with pytest.raises(ClusterError, match="cannot be used"):
        client_context(b"nonsense", certificate, key)
