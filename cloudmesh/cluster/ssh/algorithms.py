"""Which algorithms OpenSSH's configuration allows: what ssh would refuse, paramiko is not let to agree to, either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

# What paramiko calls each kind of algorithm, and the options that list what is allowed, the present name first.
_OPTIONS = {
    "kex": ("kexalgorithms",),
    "ciphers": ("ciphers",),
    "macs": ("macs",),
    "keys": ("hostkeyalgorithms",),
    "pubkeys": ("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"),
}
_CHANGES = ("+", "-", "^")  # how values begin that only change a list that is not known here
_CERTIFIED = "-cert-v01@openssh.com"


@dataclass(frozen=True)
class Algorithms:
    """What the configuration allows.

    Attributes:
        allowed: names of algorithms by kind; a kind that is missing is not restricted.
        rsa_bits: how many bits an RSA key must have, of hosts and of users.
    """

    allowed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    rsa_bits: int = 0

    def restrict(self, transport: paramiko.Transport) -> None:
        """Have `transport`, before its key exchange, offer nothing that is not allowed."""
        transport.disabled_algorithms = {
            kind: [name for name in getattr(transport, f"_preferred_{kind}") if name not in names]
            for kind, names in self.allowed.items()
        }

    def find_objection(self, key: paramiko.PKey) -> str:
        """Return the option, with its value, that forbids logging in by a key; empty: none does."""
        if too_short := self.find_short(key):
            return too_short
        names = self.allowed.get("pubkeys")
        if names is None or not names.isdisjoint(_list_signatures(key)):
            return ""
        return "PubkeyAcceptedAlgorithms without its type"

    def find_short(self, key: paramiko.PKey) -> str:
        """Return the option, with its value, for which an RSA key is too short; empty: it is long enough, or no RSA."""
        is_short = key.get_name() == "ssh-rsa" and 0 < key.get_bits() < self.rsa_bits
        return f"RequiredRSASize {self.rsa_bits}" if is_short else ""


def read(options: Mapping[str, Sequence[str]]) -> Algorithms:
    """Return what options of a host, by their names in lower case, allow."""
    allowed = {}
    for kind, names in _OPTIONS.items():
        value = next((options[name][0] for name in names if name in options), "")
        if value and not value.startswith(_CHANGES):
            allowed[kind] = frozenset(value.split(","))
    bits = options.get("requiredrsasize", [""])[0]
    return Algorithms(allowed, int(bits) if bits.isdecimal() else 0)


def _list_signatures(key: paramiko.PKey) -> list[str]:
    """Return the algorithms by one of which a key signs; a certificate's have names of their own."""
    kind = key.public_blob.key_type if key.public_blob else key.get_name()
    if kind.removesuffix(_CERTIFIED) != "ssh-rsa":
        return [kind]
    return [kind.replace("ssh-rsa", name) for name in ("rsa-sha2-512", "rsa-sha2-256")]
