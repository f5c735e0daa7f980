"""Fetches a file by HTTP(S), with limits on time and redirects; no other module in this package imports requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit, urlunsplit

from cloudmesh.cluster.binaries.cache import SourceUnavailableError
from cloudmesh.cluster.core.errors import BinaryError

if TYPE_CHECKING:
    import requests


_STALL_SECONDS = 30
_REDIRECTS = 5
_BLOCK = 1 << 18

Progress = Callable[[int, int], None]
"""Called with the number of bytes so far, and the total (0 where the server does not say)."""


def fetch(url: str, target: Path, *, patience: float, progress: Progress | None = None) -> None:
    """Write the file at `url` into `target`.

    Args:
        url: where the file is.
        target: the file to write.
        patience: seconds within which the server must begin to answer, including name lookup and all its addresses.
        progress: called with each block that arrives.

    Raises:
        SourceUnavailableError: there is no such file, or the server does not answer.
        BinaryError: the server redirects to an address that is refused or redirects too often, or the transfer was cut.
    """
    import requests

    try:
        response = _open(url, patience)
        with response:
            _save(response, target, progress)
    except requests.RequestException as error:
        raise BinaryError(f"{shown(url)}: the transfer was cut ({_cause(error)}); run the command again") from error


def shown(url: str) -> str:
    """Return `url` without the user name and password that it may carry."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _open(url: str, patience: float) -> requests.Response:
    """Open `url` and follow redirects, except from HTTPS to HTTP and to other protocols."""
    current = url
    for _ in range(_REDIRECTS + 1):
        response = _request(current, patience)
        if not response.is_redirect:
            break
        response.close()
        target = urljoin(current, response.headers["location"])
        allowed = ("https",) if urlsplit(current).scheme == "https" else ("https", "http")
        if urlsplit(target).scheme not in allowed:
            raise BinaryError(f"{shown(url)}: redirected to {shown(target)}, which is refused")
        current = target
    else:
        raise BinaryError(f"{shown(url)}: redirected more than {_REDIRECTS} times")
    if response.status_code != 200:
        response.close()
        raise SourceUnavailableError(f"{shown(url)}: the server answered {response.status_code} {response.reason}")
    return response


def _request(url: str, patience: float) -> requests.Response:
    """Send a request, in a thread: the timeout of requests counts for each address anew, and not for the lookup."""
    import requests

    answers: list[requests.Response | requests.RequestException] = []

    def send() -> None:
        try:
            answers.append(
                requests.get(
                    url,
                    stream=True,
                    allow_redirects=False,
                    timeout=(patience, _STALL_SECONDS),
                    headers={"Accept-Encoding": "identity"},
                )
            )
        except requests.RequestException as error:
            answers.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(patience)
    if not answers:
        raise SourceUnavailableError(f"{shown(url)}: no answer in {patience:.0f} s")
    if isinstance(answers[0], requests.RequestException):
        raise SourceUnavailableError(f"{shown(url)}: {_cause(answers[0])}")
    return answers[0]


def _save(response: requests.Response, target: Path, progress: Progress | None) -> None:
    total = int(response.headers.get("content-length") or 0)
    done = 0
    with target.open("wb") as file:
        for block in response.iter_content(_BLOCK):
            file.write(block)
            done += len(block)
            if progress:
                progress(done, total)
    if done < total:
        raise BinaryError(
            f"{shown(response.url)}: the transfer was cut after {done} of {total} bytes; run the command again"
        )


def _cause(error: BaseException) -> str:
    """Return the message of the innermost error: requests wraps it several times."""
    while True:
        candidates = (getattr(error, "reason", None), *error.args)
        inner = next((candidate for candidate in candidates if isinstance(candidate, Exception)), None)
        if inner is None:
            break
        error = inner
    return str(error).rpartition(": ")[2] or type(error).__name__
