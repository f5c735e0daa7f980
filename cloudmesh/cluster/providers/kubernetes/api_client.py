"""The connection to the API of a cluster, through SSH, with a certificate that is issued for one command.

Only this module uses the transport of the `kubernetes` client, and it translates all its errors to ours.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.providers.cluster_time import parse_date
from cloudmesh.cluster.providers.kubernetes.bootstrap import API_PORT
from cloudmesh.cluster.providers.kubernetes.requests import Request
from cloudmesh.cluster.ssh.tls import client_context
from cloudmesh.cluster.ssh.tls_errors import explain, explain_clocks

if TYPE_CHECKING:
    from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
    from cloudmesh.cluster.ssh.connection import Connection


T = TypeVar("T")

# kubeadm gives this group all rights, by a role binding that can be deleted.
_ADMINISTRATORS = "kubeadm:cluster-admins"
_LIFETIME = datetime.timedelta(days=7)
_SERVER_NAME = "kubernetes"
_UNAUTHORIZED, _FORBIDDEN, _GONE = 401, 403, 410
_VERSION, _READY = Request("GET", "/version"), Request("GET", "/readyz", accept="*/*")
_TIMEOUT = (10, 30)  # seconds to connect, and to wait for more of an answer
_CHECK_TIMEOUT = (3, 5)
PAGE_SIZE = 500  # objects of a list in one answer, as kubectl asks for
_TRIES, _PAUSE_SECONDS = 3, 1.0
_PATIENCE_SECONDS = 60.0


class SilentError(ApiError):
    """The API did not answer, or said that it cannot answer now."""


class RefusedError(ApiError):
    """A certificate was refused: the API's here, or there that of this command."""


class ConflictError(ApiError):
    """The object to create exists already."""


def administrator_certificate(secrets: ClusterSecrets) -> certificates.KeyPair:
    """Return a new certificate and key with all rights in the cluster; they are valid for a week."""
    authority = certificates.KeyPair(secrets.engine["ca"].encode(), secrets.engine["ca_key"].encode())
    return certificates.issue(authority, "cloudmesh-operator", organization=_ADMINISTRATORS, lifetime=_LIFETIME)


@contextmanager
def open_client(server: Connection, secrets: ClusterSecrets) -> Iterator[ApiClient]:
    """Yield a client of the API of the cluster that `server` belongs to; its key stays in memory.

    Raises:
        ApiError: the one that the block raised; where the way to the API or a clock is the cause, its message says so.
    """
    credential = administrator_certificate(secrets)
    context = client_context(
        secrets.trusted_by_engine("ca"), credential.certificate, credential.key, purpose="the Kubernetes API"
    )
    with (
        server.forward("127.0.0.1", API_PORT) as tunnel,
        ApiClient(Configuration(host=f"https://127.0.0.1:{tunnel.port}")) as client,
    ):
        # The client itself reads certificates only from files, and would use a proxy that the environment names.
        client.rest_client.pool_manager = urllib3.PoolManager(
            ssl_context=context, server_hostname=_SERVER_NAME, retries=False, maxsize=8
        )
        try:
            yield client
        except (SilentError, RefusedError) as error:
            why = tunnel.failure or (explain_clocks(server) if isinstance(error, RefusedError) else "")
            if not why:
                raise
            raise type(error)(f"{error}; {why}") from error
        except ApiError as error:
            if f"(HTTP {_UNAUTHORIZED})" not in str(error):
                raise
            clocks = explain_clocks(server)
            raise ApiError(f"{error}: the certificate of this command is not accepted there; {clocks}") from error


def call(client: ApiClient, request: Request) -> Any:
    """Return the answer to a request, as plain lists and dictionaries.

    If the API does not answer, as when it is being restarted, the request is sent up to three times.

    Raises:
        NotFoundError: the object does not exist.
        ConflictError: the object exists already.
        ApiError: the API refused the request, or did not answer.
    """

    return json.loads(read_bytes(client, request))


def read_bytes(client: ApiClient, request: Request) -> bytes:
    """Return the answer to a request as it is. Raises the same errors as `call`."""

    def send() -> bytes:
        try:
            return bytes(_open_stream(client, request).data)
        except urllib3.exceptions.HTTPError as error:
            raise SilentError(f"Kubernetes: no answer from its API ({error})") from error

    return retry(send, _is_silence, attempts=_TRIES, pause_seconds=_PAUSE_SECONDS)


def check(client: ApiClient) -> None:
    """Raise ApiError, within some seconds, unless the API server is ready.

    For some time after its start it has not read yet who may do what, and refuses everything: SilentError.
    """
    with _translated():
        try:
            _send(client, _READY, timeout=_CHECK_TIMEOUT).read()
        except ApiException as error:
            if error.status != _FORBIDDEN:
                raise
            raise SilentError(f"Kubernetes: its API has not read yet who may do what: {_cause(error)}") from error


def ask_kubelet(client: ApiClient, request: Request, *, seconds: float) -> Any:
    """Return what a kubelet answers to a request that the API passes on to it; it is sent once.

    Raises the same errors as `call`.
    """
    with _translated():
        return json.loads(_send(client, request, timeout=(seconds, seconds)).data)


def read_time(client: ApiClient) -> float:
    """Return the cluster's time, in seconds since the epoch. Raises the same errors as `call`."""
    date = retry(
        lambda: _open_stream(client, _VERSION).headers.get("Date"),
        _is_silence,
        attempts=_TRIES,
        pause_seconds=_PAUSE_SECONDS,
    )
    return parse_date(date)


def list_all(client: ApiClient, request: Request) -> list[dict[str, Any]]:
    """Return all objects of a list, read page by page. Raises the same errors as `call`.

    Where it takes so long that the API server has forgotten how the list began, it is begun anew.
    """
    return retry(lambda: _list_pages(client, request), lambda error: isinstance(error, _ExpiredError), attempts=_TRIES)


def _list_pages(client: ApiClient, request: Request) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    page = request.with_options(limit=PAGE_SIZE)
    while True:
        answer = call(client, page)
        items += answer["items"]
        if not (token := answer["metadata"].get("continue")):
            return items
        page = request.with_options(limit=PAGE_SIZE, **{"continue": token})


def _open_stream(client: ApiClient, request: Request) -> urllib3.HTTPResponse:
    """Return the answer to a request before its body is read. Raises the same errors as `read_bytes`."""
    with _translated():
        try:
            return _send(client, request)
        except ApiException as error:
            if error.status == _FORBIDDEN:
                check(client)  # it may have just started
            raise


@contextmanager
def _translated() -> Iterator[None]:
    """Translate what sending a request in the block raises into an error of ours."""
    try:
        yield
    except ApiException as error:
        raise _translate(error) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise SilentError("Kubernetes: no answer from its API") from error


def call_with_retry(request: Callable[[], T]) -> T:
    """Return what `request` returns; while the API does not answer, call it again, for at most a minute."""
    return retry(request, _is_silence, seconds=_PATIENCE_SECONDS, pause_seconds=_PAUSE_SECONDS)


def _is_silence(error: BaseException) -> bool:
    return isinstance(error, SilentError)


def _send(client: ApiClient, request: Request, timeout: tuple[float, float] | None = None) -> urllib3.HTTPResponse:
    headers = {**client.default_headers, "Accept": request.accept}
    if request.content_type:
        headers["Content-Type"] = request.content_type
    if request.byte_range:
        headers["Range"] = request.byte_range
    url = f"{client.configuration.host}{request.target}"
    answer = client.call_api(request.method, url, headers, request.body, _request_timeout=timeout or _TIMEOUT)
    if not 200 <= answer.status <= 299:
        # The client returns a refusal like any answer. ApiException needs the body to have been read.
        answer.read()
        raise ApiException(http_resp=answer)
    response: urllib3.HTTPResponse = answer.response
    return response


class _ExpiredError(ApiError):
    """The API server cannot go on with a list, as its beginning has become too old."""


def _translate(error: ApiException) -> Exception:
    if why := explain(error):
        return RefusedError(f"Kubernetes: no TLS with its API: {why}")
    text = f"Kubernetes: {_cause(error)}"
    if error.status in (404, 409):
        return NotFoundError(text) if error.status == 404 else ConflictError(text)
    if error.status == _GONE:
        return _ExpiredError(text)
    is_passing = not error.status or error.status == 429 or error.status >= 500
    return SilentError(text) if is_passing else ApiError(text)


def _cause(error: ApiException) -> str:
    try:
        message = " ".join(json.loads(error.body)["message"].split())
        return f"{message} (HTTP {error.status})"
    except (TypeError, ValueError, KeyError, AttributeError):
        reason = " ".join(str(error.reason or "").split())
        return f"{reason or 'refused'} (HTTP {error.status})" if error.status else f"no answer from its API ({reason})"
