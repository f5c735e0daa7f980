"""What lets hosts and people into a cluster: bootstrap tokens, and kubeconfig files.

A host joins with a kubeconfig whose user is a bootstrap token. `cms cluster info --kubeconfig` writes one for kubectl,
whose user has an administrator's certificate.
"""

from __future__ import annotations

import secrets
import string
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloudmesh.cluster.core.cluster_spec import ClusterSpec
from cloudmesh.cluster.providers.kubernetes import bootstrap

BOOTSTRAP_NAMESPACE = "kube-system"
_TOKEN_LETTERS = string.ascii_lowercase + string.digits
# The holder of a token may request the certificate of a node and read how nodes are configured, and nothing else.
_JOINING_GROUP = "system:bootstrappers:kubeadm:default-node-token"


def generate_token() -> str:
    """Return a new random bootstrap token, "abcdef.0123456789abcdef"."""
    letters = "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(22))
    return f"{letters[:6]}.{letters[6:]}"


def build_token_name(token: str) -> str:
    """Return the name of the Secret that makes `token` valid."""
    return f"bootstrap-token-{token.partition('.')[0]}"


def build_token_secret(token: str, expires: datetime) -> dict[str, Any]:
    """Return the Secret that makes `token` valid until `expires` (in UTC)."""
    identity, _, key = token.partition(".")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": build_token_name(token), "namespace": BOOTSTRAP_NAMESPACE},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": identity,
            "token-secret": key,
            "expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": _JOINING_GROUP,
            "description": "cms cluster",
        },
    }


def build_kubeconfig(spec: ClusterSpec, user: Mapping[str, str]) -> dict[str, Any]:
    """Return the kubeconfig with which a host of the cluster reaches the API.

    Args:
        spec: the cluster.
        user: the credential, with the keys that a kubeconfig's `user` has: "token", or "client-certificate-data" and
            "client-key-data".
    """
    authority = b64encode(spec.secrets.engine["ca"].encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": spec.cluster,
                "cluster": {"server": f"https://{bootstrap.ENDPOINT}", "certificate-authority-data": authority},
            }
        ],
        "users": [{"name": "cloudmesh", "user": dict(user)}],
        "contexts": [{"name": "cloudmesh", "context": {"cluster": spec.cluster, "user": "cloudmesh"}}],
        "current-context": "cloudmesh",
    }


def build_exported_kubeconfig(spec: ClusterSpec, user: Mapping[str, str], namespace: str) -> dict[str, Any]:
    """Return the kubeconfig with which kubectl outside the cluster reaches the API, at the address of the first server.

    Args:
        spec: the cluster.
        user: the credential, with the keys that a kubeconfig's `user` has.
        namespace: the namespace that kubectl uses where the user names none.
    """
    config = build_kubeconfig(spec, user)
    config["clusters"][0]["cluster"] |= {
        "server": f"https://{spec.servers[0]}:{bootstrap.API_PORT}",
        # Every server's certificate has this name, so that it is also accepted through a tunnel.
        "tls-server-name": "kubernetes",
    }
    config["contexts"][0]["context"]["namespace"] = namespace
    return config
