"""How the API of a cluster is reached, as kubectl and kubeadm read it. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from cloudmesh.cluster.core.cluster_spec import ClusterSpec
from cloudmesh.cluster.providers.kubernetes import bootstrap


def internal(design: ClusterSpec, user: Mapping[str, str]) -> dict[str, Any]:
    """Return how a host of the cluster reaches the API.

    Args:
        design: the cluster.
        user: the credential, as a kubeconfig's user has it.
    """
    authority = b64encode(design.secrets.engine["ca"].encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": design.cluster,
                "cluster": {"server": f"https://{bootstrap.endpoint(design)}", "certificate-authority-data": authority},
            }
        ],
        "users": [{"name": "cloudmesh", "user": dict(user)}],
        "contexts": [{"name": "cloudmesh", "context": {"cluster": design.cluster, "user": "cloudmesh"}}],
        "current-context": "cloudmesh",
    }


def exported(design: ClusterSpec, user: Mapping[str, str], namespace: str) -> dict[str, Any]:
    """Return how somebody elsewhere reaches the API: the first server, whatever way leads there.

    Args:
        design: the cluster.
        user: the credential, as a kubeconfig's user has it.
        namespace: that is meant where none is named.
    """
    found = internal(design, user)
    # The name that every server's certificate has: it holds through a tunnel too.
    found["clusters"][0]["cluster"] |= {
        "server": f"https://{design.servers[0]}:{bootstrap.API_PORT}",
        "tls-server-name": "kubernetes",
    }
    found["contexts"][0]["context"]["namespace"] = namespace
    return found
