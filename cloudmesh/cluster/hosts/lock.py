"""One operator at a time: the lock of a cluster, held on its first server by the SSH session itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudmesh.cluster.errors import HostError, LockedError
from cloudmesh.cluster.hosts import script

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection, Held

# How lock.sh begins its failure where another holds the lock.
_LOCKED = "locked by "


def hold(connection: Connection, cluster: str, operator: str) -> Held:
    """Take the lock of a cluster; it ends with `release()` of what is returned, or with the SSH session.

    Args:
        connection: to the cluster's first server.
        cluster: the cluster's name.
        operator: who takes it, for the message to others: "ann@laptop".

    Raises:
        LockedError: another operator holds it; the message says who and since when.
        HostError: the host failed.
    """
    holder = _one_line(f"{operator} for cluster {cluster}")
    try:
        return connection.hold(script.load("host/lock.sh"), files={"holder": f"{holder}\n".encode()})
    except HostError as error:
        if not error.cause.startswith(_LOCKED):
            raise
        who = _one_line(error.cause.removeprefix(_LOCKED)) or "another operator"
        raise LockedError(f"{connection.host} is being changed by {who}: wait until that has ended") from error


def _one_line(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:200].strip()
