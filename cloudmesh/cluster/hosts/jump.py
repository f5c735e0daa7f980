"""Jump hosts' connections, one for all the hosts behind each, as sshd drops bursts of connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cloudmesh.cluster.errors import HostError
from cloudmesh.cluster.hosts.link import Link


@dataclass
class _Shared:
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


class Jumps:
    """Connections to jump hosts by the way they go; each is closed when its last user releases it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._shared: dict[Hashable, _Shared] = {}

    def lease(self, key: Hashable, connect: Callable[[], Link]) -> Lease:
        """Return the connection kept under `key`; `connect` makes it if there is none.

        Raises:
            HostError: what `connect` raised, for us or for another who asked at the same time.
        """
        with self._guard:
            shared = self._shared.setdefault(key, _Shared())
        asked = time.monotonic()
        with shared.lock:
            link = shared.link
            if link is None or not link.transport.is_active():
                if (
                    shared.failure and shared.failed_at > asked
                ):  # it failed while we waited: no need to wait as long again
                    raise type(shared.failure)(shared.failure.host, shared.failure.cause)
                link = self._connect(shared, connect)
            shared.users += 1
        return Lease(link, lambda: self._release(shared, link))

    def _connect(self, shared: _Shared, connect: Callable[[], Link]) -> Link:
        if shared.link:
            shared.link.close()
        try:
            shared.link, shared.users, shared.failure = connect(), 0, None
        except HostError as error:
            shared.link, shared.failure, shared.failed_at = None, error, time.monotonic()
            raise
        return shared.link

    def _release(self, shared: _Shared, link: Link) -> None:
        with shared.lock:
            if shared.link is not link:
                return  # it died, and another took its place
            shared.users -= 1
            if not shared.users:
                shared.link = None
                link.close()


JUMPS = Jumps()
