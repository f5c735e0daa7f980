"""Connects to the operator's Docker daemon, and translates the errors of the Docker SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloudmesh.cluster.core.errors import ImageError

_SOCKET = Path("/var/run/docker.sock")
_MAX_CAUSE = 400
_NOTHING_LISTENS = ("No such file or directory", "Connection refused")


class NoDaemonError(ImageError):
    """Nothing listens where the Docker daemon should be: none runs."""


def connect(*, timeout: float = 120.0) -> Any:
    """Return a Docker client for `$DOCKER_HOST`, else the local socket; close it after use.

    Args:
        timeout: seconds without an answer of the Docker daemon after which a request fails.

    Raises:
        NoDaemonError: no Docker daemon runs.
        ImageError: it does not answer, or this user may not use it.
    """
    import docker

    with translate_errors():
        return docker.from_env(timeout=timeout)


def within_reach() -> bool:
    """Return whether there may be a Docker daemon; takes no time, as nothing is imported or sent."""
    return bool(os.environ.get("DOCKER_HOST")) or os.access(_SOCKET, os.R_OK | os.W_OK)


@contextmanager
def translate_errors(doing: str = "") -> Iterator[None]:
    """Translate the exceptions of the Docker SDK in the block into an ImageError of one line.

    Args:
        doing: what is being done, which the message names before the cause.

    Raises:
        NoDaemonError: no Docker daemon runs.
        ImageError: the block raised another exception of the SDK.
    """
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        raise ImageError(_one_line(doing, str(error.explanation or error))) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        kind = NoDaemonError if any(sign in str(error) for sign in _NOTHING_LISTENS) else ImageError
        raise kind(_one_line(doing, _explain_silence(str(error)))) from error


def _explain_silence(text: str) -> str:
    """Return why the Docker daemon does not answer, and what to do, by the text of the SDK's exception."""
    where = os.environ.get("DOCKER_HOST", "") or str(_SOCKET)
    if "Permission denied" in text:
        return f"no permission to use the Docker engine at {where}: join the group docker, or run as root"
    if "timed out" in text:
        return f"the Docker engine at {where} did not answer in time"
    if "Connection" in text or "No such file" in text or "fetching server API version" in text:
        return f"no Docker engine answers at {where}: start one, or set DOCKER_HOST"
    return text


def _one_line(doing: str, cause: str) -> str:
    """Return `cause` as one line of limited length, after `doing`."""
    text = " ".join(cause.split())
    text = text if len(text) <= _MAX_CAUSE else "…" + text[-_MAX_CAUSE:]
    return f"{doing}: {text}" if doing else text
