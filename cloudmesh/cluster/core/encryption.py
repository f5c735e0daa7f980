"""Encrypts what leaves a cluster, in the format of age (https://age-encryption.org): age itself opens it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.retrying import retry

_SLOW_TRIES = 5

PLAIN, PASSPHRASE, KEY = "plain", "passphrase", "key"


@dataclass(frozen=True)
class Lock:
    """By what data is encrypted: a passphrase, or the public key of whoever may open it; by neither, it is not.

    Attributes:
        passphrase: not empty where there is one.
        recipient: a public key of age ("age1…") or of SSH ("ssh-ed25519 …", "ssh-rsa …"); empty: none.
    """

    passphrase: str = field(default="", repr=False)
    recipient: str = ""

    @property
    def kind(self) -> str:
        """PASSPHRASE, KEY or PLAIN."""
        if self.passphrase:
            return PASSPHRASE
        return KEY if self.recipient else PLAIN

    def check(self) -> None:
        """Raise UsageError where the public key is none, or there is a passphrase beside it."""
        if self.passphrase and self.recipient:
            raise UsageError("a passphrase and a public key were given: age takes one of them")
        if self.recipient:
            _parse_recipient(self.recipient)

    def close(self, data: bytes) -> bytes:
        """Return `data` encrypted; as it is where there is neither a passphrase nor a key.

        Raises:
            UsageError: the public key is none.
        """
        if self.kind == PLAIN:
            return data
        import pyrage

        if self.passphrase:
            return bytes(pyrage.passphrase.encrypt(data, self.passphrase))
        return bytes(pyrage.encrypt(data, [_parse_recipient(self.recipient)]))


@dataclass(frozen=True)
class Opener:
    """What may open encrypted data.

    Attributes:
        passphrase: gives it, and may ask a user for it; None: there is none.
        identity: what is in the file of a private key, of age or of SSH; empty: there is none.
    """

    passphrase: Callable[[], str] | None = None
    identity: bytes = field(default=b"", repr=False)

    def open(self, data: bytes, kind: str) -> bytes:
        """Return what was encrypted.

        Args:
            data: the result of `Lock.close`, known to be whole.
            kind: by what it was encrypted, as `Lock.kind` says.

        Raises:
            UsageError: there is no passphrase or no key, as it takes one; or the key's file holds none.
            ClusterError: the passphrase or the key is another.
        """
        if kind == PLAIN:
            return data
        import pyrage

        try:
            if kind == PASSPHRASE:
                if not self.passphrase:
                    raise UsageError("it is encrypted by a passphrase: name a file that holds it by --passphrase-file")
                passphrase = self.passphrase()
                return retry(
                    lambda: bytes(pyrage.passphrase.decrypt(data, passphrase)), _is_too_slow, attempts=_SLOW_TRIES
                )
            if not self.identity:
                raise UsageError("it is encrypted for a key: name the file of the private key by --identity")
            return bytes(pyrage.decrypt(data, _parse_identities(self.identity)))
        except pyrage.DecryptError as error:
            if _is_too_slow(error):
                raise ClusterError(
                    "the passphrase was not tried, as this machine would need too long for it: run this again when it "
                    "has less to do, or on a faster one"
                ) from error
            raise ClusterError(f"this {kind} does not open it") from error


def _is_too_slow(error: BaseException) -> bool:
    """Return whether nothing was tried: how much work it takes was chosen by the speed of another moment or machine."""
    return "work" in str(error)


def _parse_recipient(text: str) -> object:
    import pyrage

    kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise UsageError(
            f"{ascii(text)[1:-1]} is no public key: use one of age (age1…) or of SSH (ssh-ed25519 …): {error}"
        ) from error


def _parse_identities(content: bytes) -> list[object]:
    import pyrage

    try:
        if b"PRIVATE KEY-----" in content:
            return [pyrage.ssh.Identity.from_buffer(content)]
        lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
        identities = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError as error:
        raise UsageError(f"the file of the private key holds none that age takes: {error}") from error
    if not identities:
        raise UsageError("the file of the private key holds none: age-keygen makes one")
    return identities
