"""How Nomad's API is reached: through SSH, by python-nomad, whose errors are turned into ours here and nowhere else."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import nomad
import requests
from nomad.api.base import Requester
from nomad.api.exceptions import BadRequestNomadException, BaseNomadException, URLNotFoundNomadException

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.providers.base import Snapshot
from cloudmesh.cluster.providers.cluster_time import parse_date
from cloudmesh.cluster.providers.nomad import bootstrap

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


T = TypeVar("T")

PAGE_SIZE = 1000  # entries of a list in one answer
_TIMEOUT_SECONDS = 15
_SNAPSHOT_SECONDS = 300
_TRIES = 3
_FORBIDDEN = 403
_CHOICE_SECONDS = 30.0  # servers choose a leader within this time
_PATIENCE_SECONDS = 60.0
_NO_ANSWER = "no answer from its API"
_REQUEST_ERRORS = (BaseNomadException, requests.RequestException, OSError)


class MalformedError(ApiError):
    """Nomad does not understand what it was sent (HTTP 400)."""


@contextmanager
def open_client(server: Connection, token: str) -> Iterator[nomad.Nomad]:
    """Yield a client of the API of the cluster that `server` belongs to.

    Raises:
        ApiError: the one that the block raised; where the way to the API is the cause, its message says so.
    """
    with server.forward("127.0.0.1", bootstrap.HTTP_PORT) as tunnel, requests.Session() as session:
        # A proxy of the operator's environment has no business with a tunnel.
        session.trust_env = False
        try:
            yield nomad.Nomad(
                address=f"http://127.0.0.1:{tunnel.port}", token=token, timeout=_TIMEOUT_SECONDS, session=session
            )
        except ApiError as error:
            if not tunnel.failure or _NO_ANSWER not in str(error):
                raise
            raise type(error)(f"{error}: {tunnel.failure}") from error


def call(request: Callable[[], T], *, attempts: int = _TRIES) -> T:
    """Return the answer to a request.

    Args:
        request: what is asked.
        attempts: how often, at most, where Nomad is silent or restarts; of several, further ones follow while its
            servers choose a leader.

    Raises:
        NotFoundError: Nomad has nothing of this name or id (HTTP 404), or no such node.
        MalformedError: Nomad does not understand the request (HTTP 400).
        ApiError: Nomad refused the request, or did not answer.
    """

    def send() -> T:
        return retry(request, _is_temporary, attempts=attempts)

    try:
        return send() if attempts == 1 else retry(send, _is_leaderless, seconds=_CHOICE_SECONDS)
    except URLNotFoundNomadException as error:
        raise NotFoundError(_describe_error(error)) from error
    except BadRequestNomadException as error:
        # The request is about a node that was taken out.
        if "Unknown node" in _describe_error(error):
            raise NotFoundError(_describe_error(error)) from error
        raise MalformedError(f"Nomad: {_describe_error(error)}") from error
    except _REQUEST_ERRORS as error:
        raise ApiError(f"Nomad: {_describe_error(error)}") from error


def call_with_retry(request: Callable[[], T]) -> T:
    """Return the answer to a request like `call`, but go on for a minute after an ApiError."""
    return retry(partial(call, request), lambda error: isinstance(error, ApiError), seconds=_PATIENCE_SECONDS)


def read_time(client: nomad.Nomad) -> float:
    """Return the cluster's time, in seconds since the epoch; raises what `call` does."""
    answer = call(lambda: client.status.leader.request(method="get"))
    return parse_date(answer.headers.get("Date"))


def read_snapshot(client: nomad.Nomad) -> Snapshot:
    """Return the servers' state, as `nomad operator snapshot save` does; the keys of its variables are in it.

    Raises:
        ApiError: it did not arrive whole, or what `call` raises.
    """
    answer = call(lambda: client.operator.request("snapshot", method="get", timeout=_SNAPSHOT_SECONDS))
    digest = b64encode(hashlib.sha256(answer.content).digest()).decode()
    if answer.headers.get("Digest") != f"sha-256={digest}":
        raise ApiError("Nomad: its snapshot did not arrive whole: run this again")
    return Snapshot(answer.content, parse_date(answer.headers.get("Date")))


class RawRequests(Requester):  # type: ignore[misc]  # it is not typed
    """Requests to a part of Nomad's API that python-nomad has no methods for.

    Args:
        endpoint: the beginning of the requests' path, after "/v1/": "volumes".
        client: of the API, with its address and token.
    """

    def __init__(self, endpoint: str, client: nomad.Nomad) -> None:
        super().__init__(**client.requester_settings)
        self.ENDPOINT = endpoint

    def ask(self, method: str, *path: str, params: Mapping[str, str] | None = None, json: Any = None) -> Any:
        """Return the answer as JSON; raises what `call` does."""
        request = partial(self.request, *path, method=method, params=dict(params or {}), json=json)
        return call(request).json()

    def list_all(self, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return all entries of a list, read page by page; raises what `call` does."""
        entries: list[dict[str, Any]] = []
        page = {**params, "per_page": str(PAGE_SIZE)}
        while True:
            answer = call(partial(self.request, method="get", params=dict(page)))
            entries += answer.json() or []
            if not (token := answer.headers.get("X-Nomad-NextToken")):
                return entries
            page["next_token"] = token


def _is_temporary(error: BaseException) -> bool:
    # Errors of our own have been through `call` already: a request may contain another.
    if not isinstance(error, _REQUEST_ERRORS):
        return False
    response = _find_response(error)
    # A server that is starting knows no token yet, and refuses ours, which may do everything.
    return response is None or response.status_code >= 500 or response.status_code == _FORBIDDEN


def _is_leaderless(error: BaseException) -> bool:
    return isinstance(error, _REQUEST_ERRORS) and "No cluster leader" in _describe_error(error)


def _find_response(error: BaseException) -> requests.Response | None:
    response = getattr(error, "nomad_resp", None)
    return response if isinstance(response, requests.Response) else None


def _describe_error(error: BaseException) -> str:
    response = _find_response(error)
    if response is not None:
        text = " ".join(response.text.split()) or response.reason
        return f"{text} (HTTP {response.status_code})"
    cause = getattr(error, "nomad_resp", error)
    return f"{_NO_ANSWER}{f' in {_TIMEOUT_SECONDS} s' if isinstance(cause, requests.Timeout) else ''}"
