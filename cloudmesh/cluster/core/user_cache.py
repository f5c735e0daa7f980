"""The user's cache directory: what is slow to make is kept there, and made by one command at a time."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudmesh.cluster.core.errors import ClusterError


def cache_directory() -> Path:
    """Return `$CLOUDMESH_CLUSTER_CACHE`, else `cloudmesh-cluster` in the user's cache directory."""
    directory = os.environ.get("CLOUDMESH_CLUSTER_CACHE", "")
    if directory:
        return Path(directory).expanduser().absolute()
    default = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or default).expanduser() / "cloudmesh-cluster"


@contextmanager
def make_alone(what: str, tell_waiting: Callable[[], None]) -> Iterator[None]:
    """Wait until no other command of this user is in such a block for the same thing, and keep others waiting.

    Args:
        what: is made, as a file name. The lock ends with the process that holds it.
        tell_waiting: is called where another command has to be waited for.

    Raises:
        ClusterError: the cache directory cannot be written to.
    """
    home = cache_directory()
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / f".{what}.lock").open("w")
    except OSError as error:
        raise ClusterError(describe_unwritable(error)) from error
    with lock:
        wait_for_turn(lock.fileno(), tell_waiting)
        yield


def wait_for_turn(descriptor: int, tell_waiting: Callable[[], None]) -> None:
    """Lock an open file or directory, until it is closed; `tell_waiting` is called where another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        tell_waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def describe_unwritable(error: OSError) -> str:
    """Return that nothing can be written to the cache, and the remedy."""
    return f"cache {cache_directory()}: {error.strerror or error}; make room or set CLOUDMESH_CLUSTER_CACHE"
