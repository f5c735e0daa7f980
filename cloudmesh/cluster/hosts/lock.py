"""One operator at a time: the lock of a cluster, held on its first server by the SSH session itself."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import HostError, LockedError
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection, HeldScript


# How lock.sh fails where another session holds the lock.
_LOCKED = re.compile(r"locked by (?P<who>.*?)(?: \(session (?P<session>[0-9a-f]+)\))?(?P<since> since .*)?")

# The host, as the user wrote it, of each session of this process: a lock that is our own is found on a machine that
# was named twice.
_sessions: dict[str, str] = {}


def hold(connection: Connection, cluster: str, operator: str) -> HeldScript:
    """Take the lock of a cluster; it ends with `release()` of what is returned, or with the SSH session.

    Args:
        connection: to the cluster's first server, or to a host that is to be changed.
        cluster: the cluster's name.
        operator: who takes it, for the message to others: "ann@laptop".

    Raises:
        LockedError: another operator holds it; the message says who and since when.
        HostError: the host failed, or it is a machine that we have locked already under another name.
    """
    session = secrets.token_hex(8)
    _sessions[session] = str(connection.host)
    holder = f"{_one_line(f'{operator} for cluster {cluster}')} (session {session})\n"
    try:
        return connection.hold(host_script.load("host/lock.sh"), files={"holder": holder.encode()})
    except HostError as error:
        if locked := _LOCKED.fullmatch(_one_line(error.cause)):
            raise _refusal(str(connection.host), locked) from error
        raise


def _refusal(host: str, locked: re.Match[str]) -> HostError | LockedError:
    ours = _sessions.get(locked["session"] or "")
    if ours == host:
        return HostError(host, "this command has locked it already")
    if ours:
        return HostError(host, f"is the same machine as {ours}: name it once")
    who = f"{locked['who'] or 'another operator'}{locked['since'] or ''}"
    return LockedError(f"{host} is being changed by {who}: wait until that has ended")


def _one_line(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:300].strip()
