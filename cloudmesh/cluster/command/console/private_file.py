"""Files that may have secrets in them, which the user has asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudmesh.cluster.core.errors import ClusterError, UsageError


def check(path: str) -> None:
    """Refuse a path at which there is something already.

    Raises:
        UsageError: there is.
    """
    if os.path.lexists(path):
        raise UsageError(f"{ascii(path)[1:-1]} exists already: it is not written over, choose another name")


def write(path: str, content: bytes) -> None:
    """Write a file that did not exist, readable by its owner alone; all of it, or none. Raises what `open_new` does."""
    with open_new(path) as put:
        put(content)


@contextmanager
def open_new(path: str) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes into a file that did not exist, readable by its owner alone.

    Where the file cannot be written to its end it is removed; another failure in the block leaves what was written.

    Raises:
        UsageError: there is something already.
        ClusterError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        check(path)
        raise
    except (OSError, ValueError) as error:
        raise ClusterError(f"{ascii(path)[1:-1]} cannot be written: {_cause(error)}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:

            def put(content: bytes) -> None:
                file.write(content)

            yield put
    except OSError as error:
        Path(path).unlink()
        raise ClusterError(f"{ascii(path)[1:-1]} cannot be written: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
