"""Whether a host is the one it claims to be: its key against the known ones, before anything is sent to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import HostKeyError
from cloudmesh.cluster.ssh import known_hosts
from cloudmesh.cluster.ssh.known_hosts import KnownHost
from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko


_asking = threading.Lock()  # hosts are connected in parallel; the user is asked one question at a time


class HostKeys:
    """What is known of one host's keys, and what is to be done about an unknown one.

    Args:
        where: the host, for messages.
        target: how it is reached.
        trusted: its key "TYPE BASE64" from a trusted source; nothing else counts then.
        store: our known_hosts file.
        comment: goes with an accepted key into that file.
        accept_new: accept unknown keys.
        confirm: asks the user whether to accept an unknown key.
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
        # An alias stands for itself in known_hosts, whatever the port (as in OpenSSH).
        self._port = 22 if target.key_name else target.port
        self._store = store
        self._comment = comment
        self._accept_new = accept_new
        self._confirm = confirm
        self._trusted = bool(trusted)
        if trusted:
            self._entries = [KnownHost(self._name, " ".join(trusted.split()[:2]))]
        else:
            self._entries = known_hosts.lookup(self._name, self._port, (*target.known_hosts, store))

    def prefer_known_types(self, transport: paramiko.Transport) -> None:
        """Have the host asked first for a key of a type that is known, as it may have several."""
        options = transport.get_security_options()
        types = {entry.key.partition(" ")[0] for entry in self._entries if not entry.revoked}
        options.key_types = sorted(options.key_types, key=lambda kind: _plain(kind) not in types)

    def verify(self, key: str) -> None:
        """Return if `key`, "TYPE BASE64", is the host's; an unknown one that is accepted goes into our file.

        Raises:
            HostKeyError: it is unknown and not accepted, revoked, or another than the known one.
        """
        if any(entry.revoked and entry.key == key for entry in self._entries):
            raise HostKeyError(self._where, f"its key {known_hosts.fingerprint(key)} is revoked: do not connect")
        keys = {entry.key for entry in self._entries if not entry.revoked}
        if key in keys:
            return
        if keys:
            raise HostKeyError(self._where, self._changed(key, keys))
        self._accept(key)

    def remember(self, key: str, comment: str) -> None:
        """Put the host's verified key into our file, with `comment`; not if the key came from a trusted source."""
        if not self._trusted:
            known_hosts.append(self._store, self._name, self._port, key, comment)

    def _accept(self, key: str) -> None:
        shown = f"{key.partition(' ')[0]} {known_hosts.fingerprint(key)}"
        if not self._accept_new and not self._confirmed(f"{self._where}: unknown host key {shown}. Accept it?"):
            raise HostKeyError(
                self._where, f"unknown host key {shown}: compare it with the host's own, then use --accept-new-hostkeys"
            )
        self.remember(key, self._comment)

    def _confirmed(self, question: str) -> bool:
        if self._confirm is None:
            return False
        with _asking:
            return self._confirm(question)

    def _changed(self, key: str, keys: set[str]) -> str:
        expected = ", ".join(sorted(known_hosts.fingerprint(old) for old in keys))
        source = "this local host was made with" if self._trusted else "the known_hosts files have"
        entry = known_hosts.label(self._name, self._port)
        return (
            f"the host key has CHANGED: it shows {known_hosts.fingerprint(key)}, {source} {expected}; someone may "
            f"listen in. If it was reinstalled, remove {entry} from known_hosts (ssh-keygen -R)"
        )


def _plain(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
