"""Bootstrap tokens, by which a host is let into a cluster. Pure but for chance."""

from __future__ import annotations

import secrets
import string
from datetime import datetime
from typing import Any

NAMESPACE = "kube-system"
_LETTERS = string.ascii_lowercase + string.digits
# Who has a token may ask for the certificate of a node, and read how nodes are configured; nothing else.
_JOINING = "system:bootstrappers:kubeadm:default-node-token"


def new_token() -> str:
    """Return a new token, "abcdef.0123456789abcdef"."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(22))
    return f"{letters[:6]}.{letters[6:]}"


def token_secret(token: str, until: datetime) -> dict[str, Any]:
    """Return the secret that makes a token good until a moment (UTC)."""
    identity, _, key = token.partition(".")
    fields = {
        "token-id": identity,
        "token-secret": key,
        "expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": _JOINING,
        "description": "cms cluster",
    }
    metadata = {"name": f"bootstrap-token-{identity}", "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "bootstrap.kubernetes.io/token",
        "stringData": fields,
    }
