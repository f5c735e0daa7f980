"""The lock by which only one operator at a time changes a cluster; a host script holds it on the first server."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import HostError, LockedError
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection, HeldScript

# The message of lock.sh where another session holds the lock.
_LOCKED = re.compile(r"locked by (?P<who>.*?)(?: \(session (?P<session>[0-9a-f]+)\))?(?P<since> since .*)?")

# The host, as the user wrote it, of every session of this process. If a lock is held by one of these sessions, the user
# has named the same machine twice.
_sessions: dict[str, str] = {}


def hold(connection: Connection, cluster: str, operator: str) -> HeldScript:
    """Take the lock of a cluster. It ends when the returned script is released, or when the connection ends.

    Args:
        connection: to the cluster's first server, or to a host that will be changed.
        cluster: the cluster's name.
        operator: who takes the lock, as others are told: "ann@laptop".

    Raises:
        LockedError: another operator holds the lock; the message says who and since when.
        HostError: the host failed, or this process has locked the same machine already, perhaps under another name.
    """
    session = secrets.token_hex(8)
    _sessions[session] = str(connection.host)
    holder = f"{_one_line(f'{operator} for cluster {cluster}')} (session {session})\n"
    try:
        return connection.hold(host_script.load("host/lock.sh"), files={"holder": holder.encode()})
    except HostError as error:
        if match := _LOCKED.fullmatch(_one_line(error.cause)):
            raise _explain(str(connection.host), match) from error
        raise


def _explain(host: str, match: re.Match[str]) -> HostError | LockedError:
    """Return the error for a lock that is held already, from the message of lock.sh."""
    locked_host = _sessions.get(match["session"] or "")
    if locked_host == host:
        return HostError(host, "this command has locked it already")
    if locked_host:
        return HostError(host, f"is the same machine as {locked_host}: name it once")
    who = f"{match['who'] or 'another operator'}{match['since'] or ''}"
    return LockedError(f"{host} is being changed by {who}: wait until that has ended")


def _one_line(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:300].strip()
