"""How the API of a cluster is reached and asked: through SSH, with a certificate made for one command; and its errors.

The only importer of the `kubernetes` client's transport, and the place where its errors are mapped.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.kubernetes.bootstrap import API_PORT
from cloudmesh.cluster.ssh.tls import client_context

if TYPE_CHECKING:
    from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
    from cloudmesh.cluster.providers.kubernetes.requests import Request
    from cloudmesh.cluster.ssh.connection import Connection


T = TypeVar("T")

# kubeadm gives this group all rights, by a binding that can be taken back.
_ADMINISTRATORS = "kubeadm:cluster-admins"
_LIFETIME = datetime.timedelta(days=7)
_SERVER_NAME = "kubernetes"
_TIMEOUT = (10, 30)
_TRIES, _PAUSE_SECONDS = 3, 1.0
_PATIENCE_SECONDS = 60.0


class ConflictError(ApiError):
    """What was to be made is there already."""


def administrator_certificate(secrets: ClusterSecrets) -> certificates.KeyPair:
    """Return a certificate that may do everything, for one command."""
    authority = certificates.KeyPair(secrets.engine["ca"].encode(), secrets.engine["ca_key"].encode())
    return certificates.issue(authority, "cloudmesh-operator", organization=_ADMINISTRATORS, lifetime=_LIFETIME)


@contextmanager
def open_client(server: Connection, secrets: ClusterSecrets) -> Iterator[client.ApiClient]:
    """Yield a client of the API of the cluster that `server` belongs to; keys stay in memory."""
    credential = administrator_certificate(secrets)
    context = client_context(secrets.engine["ca"].encode(), credential.certificate, credential.key)
    with server.forward("127.0.0.1", API_PORT) as tunnel:
        configuration = client.Configuration(host=f"https://127.0.0.1:{tunnel.port}")
        with client.ApiClient(configuration) as found:
            # The client itself takes certificates from files only, and would ask a proxy of the environment.
            found.rest_client.pool_manager = urllib3.PoolManager(
                ssl_context=context, server_hostname=_SERVER_NAME, retries=False, maxsize=8
            )
            yield found


def call(its: client.ApiClient, request: Request) -> Any:
    """Return the answer to a request, as plain lists and dictionaries.

    An API that is restarting is asked again.

    Raises:
        NotFoundError: there is no such thing.
        ConflictError: there is such a thing already.
        ApiError: the API refused, or does not answer.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return json.loads(open_stream(its, request, _TIMEOUT).data)
        except _SilentError:
            if attempt == _TRIES:
                raise
        except urllib3.exceptions.HTTPError as error:
            if attempt == _TRIES:
                raise _SilentError(f"Kubernetes: no answer from its API ({error})") from error
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable")


def open_stream(
    its: client.ApiClient, request: Request, timeout: tuple[int, int] | None = None
) -> urllib3.HTTPResponse:
    """Return the answer to a request unread, which takes what time it takes; raises what `asked` does."""
    try:
        return _send(its, request, timeout)
    except ApiException as error:
        raise _translate(error) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _SilentError("Kubernetes: no answer from its API") from error


def call_with_retry(request: Callable[[], T]) -> T:
    """Return the request's result; an API that is away is waited for, a minute at most."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return request()
        except _SilentError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def _send(its: client.ApiClient, request: Request, timeout: tuple[int, int] | None) -> urllib3.HTTPResponse:
    headers = {**its.default_headers, "Accept": "application/json"}
    if request.content_type:
        headers["Content-Type"] = request.content_type
    url = f"{its.configuration.host}{request.target}"
    answer = its.call_api(request.method, url, headers, request.body, _request_timeout=timeout)
    if not 200 <= answer.status <= 299:
        # The client gives back refusals as it does answers; the exception takes the body that has been read.
        answer.read()
        raise ApiException(http_resp=answer)
    response: urllib3.HTTPResponse = answer.response
    return response


class _SilentError(ApiError):
    """The API did not answer, or said that it cannot now."""


def _translate(error: ApiException) -> Exception:
    text = f"Kubernetes: {_cause(error)}"
    if error.status in (404, 409):
        return NotFoundError(text) if error.status == 404 else ConflictError(text)
    passing = not error.status or error.status == 429 or error.status >= 500
    return _SilentError(text) if passing else ApiError(text)


def _cause(error: ApiException) -> str:
    try:
        said = " ".join(json.loads(error.body)["message"].split())
        return f"{said} (HTTP {error.status})"
    except (TypeError, ValueError, KeyError, AttributeError):
        return f"{error.reason or 'no answer from its API'} (HTTP {error.status})"
