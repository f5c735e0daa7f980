"""Makes a cluster's certificate authority and the certificates of its hosts, as PEM in memory."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# The DNS name of the cluster's registry, in the certificate of each server.
REGISTRY_NAME = "registry.cloudmesh"
# Authorities outlive what they sign; `cluster rotate` replaces both at any time, also what has expired.
AUTHORITY_LIFETIME = datetime.timedelta(days=3650)
LIFETIME = datetime.timedelta(days=365)
# Certificates are valid from a time in the past, so that a host whose clock is a little behind accepts a new one.
_BACKDATED = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


def new_authority(cluster: str, *, now: float | None = None, vouches: bool = False) -> KeyPair:
    """Return a new certificate authority for `cluster`.

    Args:
        cluster: what it is for, in its name.
        now: as `issue` has it.
        vouches: whether it can sign another authority, see `cross_sign`.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _build_name(f"cloudmesh cluster {cluster}")
    return _sign(_start_authority(name, name, key, now, path_length=int(vouches)), key, key)


def cross_sign(authority: KeyPair, signer: KeyPair, *, now: float | None = None) -> bytes:
    """Return a certificate of `authority`, as PEM, that `signer` has signed: who trusts that one trusts both by it.

    Args:
        authority: that is vouched for.
        signer: an authority that vouches.
        now: as `issue` has it.
    """
    from cryptography import x509

    (subject, key), (issuer, issuer_key) = _load(authority), _load(signer)
    builder = _start_authority(subject, issuer, key, now, path_length=0).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
    )
    return _sign(builder, key, issuer_key).certificate


def issue(
    authority: KeyPair,
    common_name: str,
    names: Sequence[str] = (),
    addresses: Sequence[str] = (),
    *,
    organization: str = "",
    lifetime: datetime.timedelta | None = None,
    now: float | None = None,
) -> KeyPair:
    """Return a certificate for TLS servers and clients, signed by `authority`.

    Args:
        authority: the certificate authority that signs.
        common_name: the subject's common name.
        names: DNS names for which the certificate is valid.
        addresses: IP addresses for which the certificate is valid.
        organization: the subject's organization, which Kubernetes takes as a group; empty: none.
        lifetime: how long the certificate is valid from now on; None: LIFETIME.
        now: in seconds since the epoch by the clock of the cluster's hosts; None: the operator's own clock.

    Raises:
        ValueError: an address is malformed.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

    issuer, issuer_key = _load(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ip_address(address)) for address in addresses]
    builder = (
        _start_certificate(_build_name(common_name, organization), issuer, key, lifetime or LIFETIME, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_build_key_usage(certificate_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([Usage.SERVER_AUTH, Usage.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return _sign(builder, key, issuer_key)


def public_key(pair: KeyPair) -> bytes:
    """Return the public key of `pair`, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(pair.certificate).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def earliest_end(pem: bytes) -> float:
    """Return when the first of the certificates in `pem` ends, in seconds since the epoch.

    Raises:
        ValueError: there is none, or one is malformed.
    """
    from cryptography import x509

    return min(one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(pem))


def _build_name(common_name: str, organization: str = "") -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _load(pair: KeyPair) -> tuple[x509.Name, EllipticCurvePrivateKey]:
    """Return the name that a certificate is for, and its private key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pair.key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - the only kind that is made here
    return x509.load_pem_x509_certificate(pair.certificate).subject, key


def _start_authority(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, now: float | None, *, path_length: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        _start_certificate(subject, issuer, key, AUTHORITY_LIFETIME, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_build_key_usage(certificate_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _start_certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    lifetime: datetime.timedelta,
    now: float | None,
) -> x509.CertificateBuilder:
    from cryptography import x509

    time_now = datetime.datetime.fromtimestamp(time.time() if now is None else now, datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(time_now - _BACKDATED)
        .not_valid_after(time_now + lifetime)
    )


def _build_key_usage(*, certificate_sign: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=certificate_sign,
        crl_sign=certificate_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey) -> KeyPair:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    certificate = builder.sign(signer, hashes.SHA256())
    return KeyPair(
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
