"""etcd, the store behind the API: its members, of which a server that is gone has to be taken out, and its snapshot.

Kubernetes' API knows nothing of them, and kubeadm only of those of its own host. Each server's etcd answers on its
loopback, to clients of etcd's own authority, also by JSON (https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/).
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import urllib3

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.providers.cluster_time import parse_date
from cloudmesh.cluster.ssh.tls import client_context

if TYPE_CHECKING:
    from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
    from cloudmesh.cluster.ssh.connection import Connection

T = TypeVar("T")

_PORT = 2379
_TIMEOUT = 10.0  # seconds to wait for more of an answer
_PATIENCE_SECONDS = 20.0  # a leader is chosen within this time
_SHA256_BYTES = 32


def remove_member(server: Connection, secrets: ClusterSecrets, address: str) -> None:
    """Take the member at `address` out of etcd's, alive or dead; nothing is done where there is none.

    Args:
        server: through which etcd is asked.
        secrets: of the cluster.
        address: of the server that is to be no member any more.

    Raises:
        ApiError: etcd does not answer, or refuses: most of its members are gone.
    """
    for member in _ask(server, secrets, "cluster/member/list", {}, _read_fields).get("members", []):
        if address in {urlsplit(url).hostname for url in member["peerURLs"]}:
            _ask(server, secrets, "cluster/member/remove", {"ID": member["ID"]}, _read_fields)


def take_snapshot(server: Connection, secrets: ClusterSecrets) -> tuple[bytes, float]:
    """Return the store of the etcd on `server`, as `etcdctl snapshot save` does, and when it was that.

    Returns:
        The snapshot, whose last 32 bytes are the SHA-256 of the rest, by which etcdutl checks it once more; and the
        time by the server's clock, in seconds since the epoch.

    Raises:
        ApiError: etcd does not answer, or the snapshot did not arrive whole.
    """
    return _ask(server, secrets, "maintenance/snapshot", {}, _read_snapshot)


def _read_fields(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(answer.read())
    return fields


def _read_snapshot(answer: urllib3.BaseHTTPResponse) -> tuple[bytes, float]:
    return parse_snapshot(answer.read()), parse_date(answer.headers.get("Date"))


def parse_snapshot(answer: bytes) -> bytes:
    """Return the snapshot in an answer, each line of which is JSON with a piece of it; ApiError: it is not whole."""
    try:
        messages = [json.loads(line) for line in answer.splitlines() if line]
        snapshot = b"".join(b64decode(message["result"].get("blob", "")) for message in messages)
    except (KeyError, ValueError, TypeError, AttributeError):
        snapshot = b""
    content, digest = snapshot[:-_SHA256_BYTES], snapshot[-_SHA256_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise ApiError("etcd: its snapshot did not arrive whole: run this again")
    return snapshot


def _ask(
    server: Connection,
    secrets: ClusterSecrets,
    path: str,
    body: Mapping[str, Any],
    read: Callable[[urllib3.BaseHTTPResponse], T],
) -> T:
    authority = certificates.KeyPair(secrets.engine["etcd"].encode(), secrets.engine["etcd_key"].encode())
    client = certificates.issue(authority, "cloudmesh-operator")
    context = client_context(secrets.trusted_by_engine("etcd"), client.certificate, client.key, purpose="etcd")

    def send() -> T:
        with (
            server.forward("127.0.0.1", _PORT) as tunnel,
            urllib3.PoolManager(ssl_context=context, server_hostname="localhost", retries=False) as pool,
        ):
            url, content = f"https://127.0.0.1:{tunnel.port}/v3/{path}", json.dumps(body).encode()
            try:
                answer = pool.request("POST", url, body=content, timeout=_TIMEOUT, preload_content=False)
                if answer.status != 200:
                    raise ApiError(f"etcd: {_cause(answer.read())} (HTTP {answer.status})")
                return read(answer)
            except urllib3.exceptions.HTTPError as error:
                raise ApiError(f"etcd: no answer from {server.host} ({tunnel.failure or error})") from error

    return retry(send, lambda error: isinstance(error, ApiError), seconds=_PATIENCE_SECONDS)


def _cause(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return "refused"
