"""Verifies a host's key against the known host keys, before anything is sent to the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import question_lock
from cloudmesh.cluster.core.errors import HostKeyError
from cloudmesh.cluster.ssh import known_hosts
from cloudmesh.cluster.ssh.known_hosts import KnownHost
from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko


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
    ) -> None:
        self._where = where
        self._name = target.key_name or target.address
        # With a HostKeyAlias, OpenSSH writes the alias without the port into known_hosts.
        self._port = 22 if target.key_name else target.port
        self._store = store
        self._comment = comment
        self._accept_new = accept_new
        self._confirm = confirm
        self._is_trusted = bool(trusted)
        if trusted:
            self._entries = [KnownHost(self._name, " ".join(trusted.split()[:2]))]
        else:
            self._entries = known_hosts.lookup(self._name, self._port, (*target.known_hosts, store))

    def prefer_known_types(self, transport: paramiko.Transport) -> None:
        """Have the transport ask first for a key of a known type, as a host may have keys of several types."""
        options = transport.get_security_options()
        types = {entry.key.partition(" ")[0] for entry in self._entries if not entry.revoked}
        options.key_types = sorted(options.key_types, key=lambda kind: _get_key_type(kind) not in types)

    def verify(self, key: str) -> None:
        """Return if `key`, "TYPE BASE64", is a known key of the host; an unknown one that is accepted is written down.

        Raises:
            HostKeyError: the key is revoked, differs from the known keys, or is unknown and not accepted.
            ClusterError: an accepted key cannot be written into the known_hosts file.
        """
        if any(entry.revoked and entry.key == key for entry in self._entries):
            raise HostKeyError(self._where, f"its key {known_hosts.fingerprint(key)} is revoked: do not connect")
        keys = {entry.key for entry in self._entries if not entry.revoked}
        if key in keys:
            return
        if keys:
            raise HostKeyError(self._where, self._explain_change(key, keys))
        self._accept(key)

    def remember(self, key: str, comment: str) -> None:
        """Write the host's verified key and `comment` into our file, unless the key came from a trusted source."""
        if not self._is_trusted:
            known_hosts.append(self._store, self._name, self._port, key, comment)

    def forget(self) -> None:
        """Look for clusters on the host no more; its key stays in our file."""
        known_hosts.forget(self._store, self._name, self._port)

    def _accept(self, key: str) -> None:
        shown = f"{key.partition(' ')[0]} {known_hosts.fingerprint(key)}"
        if not self._accept_new and not self._ask_to_accept(f"{self._where}: unknown host key {shown}. Accept it?"):
            raise HostKeyError(
                self._where, f"unknown host key {shown}: compare it with the host's own, then use --accept-new-hostkeys"
            )
        self.remember(key, self._comment)

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
            f"listen in. If it was reinstalled, remove {entry} from known_hosts (ssh-keygen -R)"
        )


def _get_key_type(algorithm: str) -> str:
    """Return the type of the keys that a signature algorithm uses: RSA keys have several algorithms."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
