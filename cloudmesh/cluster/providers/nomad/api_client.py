"""How Nomad's API is reached and asked: through SSH, by python-nomad; the place where its errors are mapped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import nomad
import requests
from nomad.api.base import Requester
from nomad.api.exceptions import BadRequestNomadException, BaseNomadException, URLNotFoundNomadException

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.nomad import bootstrap

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


T = TypeVar("T")

_TIMEOUT_SECONDS = 15
_TRIES, _PAUSE_SECONDS = 3, 1.0
_PATIENCE_SECONDS = 60.0


class MalformedError(ApiError):
    """Nomad does not understand what it was given."""


@contextmanager
def open_client(server: Connection, token: str) -> Iterator[nomad.Nomad]:
    """Yield a client of the API of the cluster that `server` belongs to."""
    with server.forward("127.0.0.1", bootstrap.HTTP_PORT) as tunnel, requests.Session() as session:
        # A proxy of the operator's environment has no business with a tunnel.
        session.trust_env = False
        yield nomad.Nomad(
            address=f"http://127.0.0.1:{tunnel.port}", token=token, timeout=_TIMEOUT_SECONDS, session=session
        )


def call(request: Callable[[], T]) -> T:
    """Return the request's answer; a server that has no leader yet, or is restarting, is asked again.

    Raises:
        NotFoundError: there is no such thing.
        MalformedError: Nomad does not understand it.
        ApiError: Nomad refused, or does not answer.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return request()
        except URLNotFoundNomadException as error:
            raise NotFoundError(_cause(error)) from error
        except BadRequestNomadException as error:
            raise MalformedError(f"Nomad: {_cause(error)}") from error
        except (BaseNomadException, requests.RequestException, OSError) as error:
            if attempt == _TRIES or not _is_temporary(error):
                raise ApiError(f"Nomad: {_cause(error)}") from error
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable")


class RawRequests(Requester):  # type: ignore[misc]  # it is not typed
    """Requests to a part of Nomad's API that python-nomad has no words for.

    Args:
        endpoint: what comes before the parts of a request.
        client: whose API it is.
    """

    def __init__(self, endpoint: str, client: nomad.Nomad) -> None:
        super().__init__(**client.requester_settings)
        self.ENDPOINT = endpoint

    def ask(self, method: str, *path: str, params: Mapping[str, str] | None = None, json: Any = None) -> Any:
        """Return the answer; the errors are those of `asked`."""
        request = partial(self.request, *path, method=method, params=dict(params or {}), json=json)
        return call(request).json()


def call_with_retry(request: Callable[[], T]) -> T:
    """Return the request's answer; an API that is away is waited for, a minute at most."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return call(request)
        except ApiError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def _is_temporary(error: Exception) -> bool:
    response = getattr(error, "nomad_resp", None)
    return not isinstance(response, requests.Response) or response.status_code >= 500


def _cause(error: Exception) -> str:
    response = getattr(error, "nomad_resp", None)
    if isinstance(response, requests.Response):
        said = " ".join(response.text.split()) or response.reason
        return f"{said} (HTTP {response.status_code})"
    return "no answer from its API"
