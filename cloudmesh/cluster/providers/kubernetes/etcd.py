"""The members of etcd, the store behind the API: a server that is gone has to be taken out of them.

Kubernetes' API knows nothing of them, and kubeadm only of those of its own host. Each server's etcd answers on its
loopback, to clients of etcd's own authority, also by JSON (https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.ssh.tls import client_context

if TYPE_CHECKING:
    from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
    from cloudmesh.cluster.ssh.connection import Connection

_PORT = 2379
_TIMEOUT = 10.0
_PATIENCE_SECONDS = 20.0  # a leader is chosen within this time


def remove_member(server: Connection, secrets: ClusterSecrets, address: str) -> None:
    """Take the member at `address` out of etcd's, alive or dead; nothing is done where there is none.

    Args:
        server: through which etcd is asked.
        secrets: of the cluster.
        address: of the server that is to be no member any more.

    Raises:
        ApiError: etcd does not answer, or refuses: most of its members are gone.
    """
    for member in _ask(server, secrets, "list", {}).get("members", []):
        if address in {urlsplit(url).hostname for url in member["peerURLs"]}:
            _ask(server, secrets, "remove", {"ID": member["ID"]})


def _ask(server: Connection, secrets: ClusterSecrets, verb: str, body: Mapping[str, Any]) -> dict[str, Any]:
    authority = certificates.KeyPair(secrets.engine["etcd"].encode(), secrets.engine["etcd_key"].encode())
    client = certificates.issue(authority, "cloudmesh-operator")
    context = client_context(authority.certificate, client.certificate, client.key, purpose="etcd")

    def send() -> dict[str, Any]:
        with (
            server.forward("127.0.0.1", _PORT) as tunnel,
            urllib3.PoolManager(ssl_context=context, server_hostname="localhost", retries=False) as pool,
        ):
            url = f"https://127.0.0.1:{tunnel.port}/v3/cluster/member/{verb}"
            try:
                answer = pool.request("POST", url, body=json.dumps(body).encode(), timeout=_TIMEOUT)
            except urllib3.exceptions.HTTPError as error:
                raise ApiError(f"etcd: no answer from {server.host} ({tunnel.failure or error})") from error
        if answer.status != 200:
            raise ApiError(f"etcd: {_cause(answer.data)} (HTTP {answer.status})")
        fields: dict[str, Any] = json.loads(answer.data)
        return fields

    return retry(send, lambda error: isinstance(error, ApiError), seconds=_PATIENCE_SECONDS)


def _cause(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return "refused"
