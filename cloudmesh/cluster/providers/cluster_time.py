"""The time of a cluster: what expires there goes by it, and never by the operator's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from cloudmesh.cluster.core.errors import ApiError


def parse_date(header: str | None) -> float:
    """Return the seconds since the epoch of an answer's header "Date"; ApiError: there is none that makes sense."""
    try:
        return parsedate_to_datetime(str(header)).timestamp()
    except ValueError as error:
        raise ApiError("the engine's API does not tell the time") from error


class ClusterClock:
    """The clock of a server of a cluster, which is asked once.

    Args:
        read: asks an API for its time, in seconds since the epoch.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._ahead: float | None = None  # of this machine's monotonic clock

    def now(self) -> float:
        """Return the time in seconds since the epoch, right to a second; ApiError: the API does not tell."""
        if self._ahead is None:
            self._ahead = self._read() - time.monotonic()
        return self._ahead + time.monotonic()
