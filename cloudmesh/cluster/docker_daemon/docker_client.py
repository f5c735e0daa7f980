"""The operator's own Docker engine: the one way to it, and the one place where its errors are mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloudmesh.cluster.core.errors import ImageError

_SOCKET = Path("/var/run/docker.sock")
_MAX_CAUSE = 400


def connect(*, timeout: float = 120.0) -> Any:
    """Return a Docker client for `$DOCKER_HOST`, else the local socket; close it after use.

    Args:
        timeout: seconds without a sign of the engine after which a request fails.

    Raises:
        ImageError: no engine answers, or this user may not use it.
    """
    import docker

    with translate_errors():
        return docker.from_env(timeout=timeout)


def within_reach() -> bool:
    """Whether there may be an engine at all; cheap: nothing is imported, nothing is sent."""
    return bool(os.environ.get("DOCKER_HOST")) or os.access(_SOCKET, os.R_OK | os.W_OK)


@contextmanager
def translate_errors(doing: str = "") -> Iterator[None]:
    """Turn whatever the Docker SDK raises into an ImageError of one line.

    Args:
        doing: what was being done, put before the cause.

    Raises:
        ImageError: the block raised an error of the SDK.
    """
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        raise ImageError(_one_line(doing, str(error.explanation or error))) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise ImageError(_one_line(doing, _unreachable(error))) from error


def _unreachable(error: Exception) -> str:
    """Say why the engine does not answer, and what to do."""
    text = str(error)
    where = os.environ.get("DOCKER_HOST", "") or str(_SOCKET)
    if "Permission denied" in text:
        return f"no permission to use the Docker engine at {where}: join the group docker, or run as root"
    if "timed out" in text:
        return f"the Docker engine at {where} did not answer in time"
    if "Connection" in text or "No such file" in text or "fetching server API version" in text:
        return f"no Docker engine answers at {where}: start one, or set DOCKER_HOST"
    return text


def _one_line(doing: str, cause: str) -> str:
    """Return one line of bounded length."""
    text = " ".join(cause.split())
    text = text if len(text) <= _MAX_CAUSE else "…" + text[-_MAX_CAUSE:]
    return f"{doing}: {text}" if doing else text
