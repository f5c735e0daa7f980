"""Verifies a host's key against the known host keys, before anything is sent to the host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import question_lock
from cloudmesh.cluster.core.errors import ClusterError, HostKeyError
from cloudmesh.cluster.ssh import known_hosts
from cloudmesh.cluster.ssh.known_hosts import KnownHost
from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko

_USABLE_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


class HostKeys:
    """The known keys of one host, and what to do about an unknown key.

    Args:
        where: the host, as messages name it.
        target: how the host is reached.
        trusted: the host's key "TYPE BASE64" from a trusted source; if not empty, no other key is accepted.
        store: path of Cloudmesh's known_hosts file.
        comment: is written with an accepted key into that file.
        accept_new: whether unknown keys are accepted without a question.
        confirm: asks the user whether to accept an unknown key; None where nobody can be asked.
        note: is told of a known_hosts file that cannot be read.

    Attributes:
        entries: those of the known_hosts files for this host.
        foreign: what only OpenSSH can verify the host's key by, in words; empty: there is nothing of the kind.
        verified: the key that was verified, "TYPE BASE64"; empty: none was yet.
    """

    def __init__(
        self,
        where: str,
        target: Target,
        *,
        trusted: str,
        store: Path,
        comment: str,
        accept_new: bool,
        confirm: Callable[[str], bool] | None,
        note: Callable[[str], None],
    ) -> None:
        self.verified = ""
        self._where = where
        self._name = target.key_name or target.address
        # With a HostKeyAlias, OpenSSH writes the alias without the port into known_hosts.
        self._port = 22 if target.key_name else target.port
        self._store = store
        self._comment = comment
        self._accept_new = accept_new or target.accepts_new_keys
        self._confirm = confirm if target.asks_for_keys else None
        self._ignores_strictness = target.accepts_new_keys
        self._is_trusted = bool(trusted)
        if trusted:
            self.entries = [KnownHost(self._name, " ".join(trusted.split()[:2]))]
            self.foreign = ""
        else:
            self.entries = self._read_entries((*target.known_hosts, store), note)
            self.foreign = target.foreign_keys or self._find_foreign_entry()

    def _read_entries(self, paths: Iterable[Path], note: Callable[[str], None]) -> list[KnownHost]:
        readable = []
        for path in paths:
            try:
                readable += list(known_hosts.entries(path))
            except ClusterError as error:
                if path == self._store:
                    raise
                note(f"{error}: the host keys in it do not count")
        entries = known_hosts.select(readable, self._name, self._port)
        if self._port == 22:
            return entries
        # As with OpenSSH, a key that is known of the host's port 22 may be shown at another port, but need not.
        keys = {entry.key for entry in entries if not entry.authority}
        elsewhere = [entry for entry in known_hosts.select(readable, self._name, 22) if entry.key not in keys]
        return [*entries, *(replace(entry, optional=True) for entry in elsewhere)]

    def _find_foreign_entry(self) -> str:
        """Return an entry that only OpenSSH can verify a host key by, in words; empty: there is none."""
        for entry in self.entries:
            if entry.authority:
                return "@cert-authority"
            if not entry.revoked and not _is_usable(entry):
                return f"a known key of type {entry.key.partition(' ')[0]}"
        return ""

    def prefer_known_types(self, transport: paramiko.Transport) -> None:
        """Have the transport ask first for a key of a known type, as a host may have keys of several types."""
        options = transport.get_security_options()
        types = {entry.key.partition(" ")[0] for entry in self.entries if not entry.revoked and not entry.authority}
        options.key_types = sorted(options.key_types, key=lambda kind: _get_key_type(kind) not in types)

    def is_sure_of(self, key: str) -> bool:
        """Return whether `key`, "TYPE BASE64", is a known key of the host, and nothing speaks against it.

        Where something is revoked, that may also be an authority, or the certificate that the host has for a known key.

        Raises:
            HostKeyError: the key is revoked.
        """
        if any(entry.revoked and entry.key == key for entry in self.entries):
            raise HostKeyError(self._where, f"its key {known_hosts.fingerprint(key)} is revoked: do not connect")
        return key in self._list_usable() and not any(entry.revoked for entry in self.entries)

    def verify(self, key: str, *, objection: str = "") -> None:
        """Return if `key`, "TYPE BASE64", is a known key of the host; an unknown one that is accepted is written down.

        Args:
            key: what the host showed.
            objection: why the host's certificate does not vouch for the key, for messages.

        Raises:
            HostKeyError: the key is revoked, differs from the known keys, or is unknown and not accepted.
            ClusterError: an accepted key cannot be written into the known_hosts file.
        """
        if not self.is_sure_of(key) and key not in self._list_usable():
            if expected := self._list_usable(optional=False):
                raise HostKeyError(self._where, self._explain_change(key, expected))
            self._accept(key, objection)
        self.verified = key

    def _list_usable(self, *, optional: bool = True) -> set[str]:
        return {entry.key for entry in self.entries if _is_usable(entry) and (optional or not entry.optional)}

    def find(self, fingerprint: str) -> str:
        """Return the known key that has a fingerprint, "TYPE BASE64"; empty: none has."""
        for entry in self.entries:
            with contextlib.suppress(ValueError, IndexError):  # a line that is no key
                if not entry.revoked and known_hosts.fingerprint(entry.key) == fingerprint:
                    return entry.key
        return ""

    def remember(self, key: str, comment: str) -> None:
        """Write the host's verified key and `comment` into our file, unless the key came from a trusted source."""
        if not self._is_trusted:
            known_hosts.append(self._store, self._name, self._port, key, comment)

    def forget(self) -> None:
        """Look for clusters on the host no more; its key stays in our file."""
        known_hosts.forget(self._store, self._name, self._port)

    def _accept(self, key: str, objection: str) -> None:
        shown = f"{describe(key)} ({objection})" if objection else describe(key)
        if not self._accept_new and not self._ask_to_accept(f"{self._where}: unknown host key {shown}. Accept it?"):
            raise HostKeyError(
                self._where, f"unknown host key {shown}: compare it with the host's own, then use --accept-new-hostkeys"
            )
        self.remember(key, self._comment)
        self.entries.append(KnownHost(self._name, key))

    def _ask_to_accept(self, question: str) -> bool:
        if self._confirm is None:
            return False
        with question_lock:
            return self._confirm(question)

    def _explain_change(self, key: str, keys: set[str]) -> str:
        expected = ", ".join(sorted(known_hosts.fingerprint(old) for old in keys))
        source = "this local host was made with" if self._is_trusted else "the known_hosts files have"
        entry = known_hosts.label(self._name, self._port)
        return (
            f"the host key has CHANGED: it shows {known_hosts.fingerprint(key)}, {source} {expected}; someone may "
            f"listen in{', so that StrictHostKeyChecking does not count' if self._ignores_strictness else ''}. If it "
            f"was reinstalled, remove {entry} from known_hosts (ssh-keygen -R)"
        )


def _is_usable(entry: KnownHost) -> bool:
    """Whether an entry has a host's key of a type that can be verified here."""
    return not entry.revoked and not entry.authority and entry.key.partition(" ")[0] in _USABLE_TYPES


def describe(key: str) -> str:
    """Return the type and fingerprint of a key, for messages."""
    return f"{key.partition(' ')[0]} {known_hosts.fingerprint(key)}"


def _get_key_type(algorithm: str) -> str:
    """Return the type of the keys that a signature algorithm uses: RSA keys have several algorithms."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
