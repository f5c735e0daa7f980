"""The cluster's certificates."""

import socket
import ssl
import threading
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.ssh.tls import client_context


@pytest.fixture(scope="module")
def authority():
    return certificates.new_authority("demo")


def test_a_host_certificate_names_the_host_and_its_addresses(authority):
    pair = certificates.issue(authority, "h1", ["server.global.nomad"], ["10.0.0.5"])
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["server.global.nomad"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5"]


def test_a_host_cannot_sign_certificates(authority):
    certificate = x509.load_pem_x509_certificate(certificates.issue(authority, "h1").certificate)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False


def test_a_certificate_for_one_command_names_its_group_and_ends_soon(authority):
    pair = certificates.issue(authority, "operator", organization="admins", lifetime=timedelta(days=1))
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    assert certificate.subject.rfc4514_string() == "CN=operator,O=admins"
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=1, hours=1)


def test_a_public_key_is_that_of_the_private_one(authority):
    pair = certificates.issue(authority, "accounts")
    private = load_pem_private_key(pair.key, None)
    assert load_pem_public_key(certificates.public_key(pair)) == private.public_key()


def test_a_private_key_is_not_shown(authority):
    assert b"PRIVATE" in authority.key
    assert "PRIVATE" not in repr(authority)


def test_a_client_of_another_cluster_is_refused(authority, tmp_path):
    stranger = certificates.new_authority("other")
    accepted, refused = (
        _handshake(authority, certificates.issue(signer, "c"), tmp_path) for signer in (authority, stranger)
    )
    assert accepted is None
    assert isinstance(refused, (ssl.SSLError, ConnectionError))


def _handshake(authority: certificates.KeyPair, client: certificates.KeyPair, directory) -> Exception | None:
    """Greet a TLS server that demands a certificate of `authority`, and return what the client met."""
    server = certificates.issue(authority, "s", [certificates.REGISTRY_NAME])
    (directory / "server.pem").write_bytes(server.certificate + server.key)
    (directory / "ca.pem").write_bytes(authority.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(directory / "server.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_once, args=(listener, context))
        thread.start()
        try:
            plain = socket.create_connection(listener.getsockname(), timeout=5)
            client_side = client_context(authority.certificate, client.certificate, client.key)
            with client_side.wrap_socket(plain, server_hostname=certificates.REGISTRY_NAME) as connection:
                assert connection.recv(2) == b"hi"
        except (ssl.SSLError, ConnectionError) as error:
            return error
        finally:
            thread.join(5)
    return None


def _serve_once(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"hi")
    except (ssl.SSLError, ConnectionError):
        connection.close()
