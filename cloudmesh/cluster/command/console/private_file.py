"""Files with secrets in them, which the user has asked for."""

from __future__ import annotations

import os
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
    """Write a file that did not exist, readable by its owner alone; all of it, or none.

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
            file.write(content)
    except OSError as error:
        Path(path).unlink()
        raise ClusterError(f"{ascii(path)[1:-1]} cannot be written: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
