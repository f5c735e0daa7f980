"""Connections to jump hosts, which the hosts behind them share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.ssh.connection import Link


@dataclass
class _SharedLink:
    """A connection to a jump host.

    Attributes:
        lock: is held while the other attributes change, and while the connection is being made.
        link: the connection; None where there is none.
        users: how many leases of it are not released.
        failure: why the last attempt to connect failed; None if it succeeded.
        failed_at: when that was, in the seconds of `time.monotonic`.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    link: Link | None = None
    users: int = 0
    failure: HostError | None = None
    failed_at: float = 0.0


@dataclass(frozen=True)
class Lease:
    """The use of a shared connection until `release` is called."""

    link: Link
    release: Callable[[], None]


class JumpHosts:
    """Connections to jump hosts, shared between the hosts behind them; closed when the last user releases them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._shared: dict[Hashable, _SharedLink] = {}

    def lease(self, key: Hashable, connect: Callable[[], Link]) -> Lease:
        """Return a lease of the connection that is stored under `key`.

        Args:
            key: the same for everything that can share the connection.
            connect: makes the connection if there is none, or none that still stands.

        Raises:
            HostError: `connect` failed, in this thread or in another one for which this thread waited.
        """
        with self._guard:
            shared = self._shared.setdefault(key, _SharedLink())
        start = time.monotonic()
        with shared.lock:
            link = shared.link
            if link is None or not link.transport.is_active():
                # Another thread failed while this one waited: trying again would only take as long once more.
                if shared.failure and shared.failed_at > start:
                    raise type(shared.failure)(shared.failure.host, shared.failure.cause)
                link = self._connect(shared, connect)
            shared.users += 1
        return Lease(link, lambda: self._release(shared, link))

    def _connect(self, shared: _SharedLink, connect: Callable[[], Link]) -> Link:
        if shared.link:
            shared.link.close()
        try:
            shared.link, shared.users, shared.failure = connect(), 0, None
        except HostError as error:
            shared.link, shared.failure, shared.failed_at = None, error, time.monotonic()
            raise
        return shared.link

    def _release(self, shared: _SharedLink, link: Link) -> None:
        with shared.lock:
            if shared.link is not link:
                return  # the link had died and was replaced by another one
            shared.users -= 1
            if not shared.users:
                shared.link = None
                link.close()


JUMP_HOSTS = JumpHosts()
