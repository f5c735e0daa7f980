"""The kinds of clusters. A third engine is one package more, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import UsageError

if TYPE_CHECKING:
    from cloudmesh.cluster.providers.base import Provider

PROVIDERS = {
    "nomad": "cloudmesh.cluster.providers.nomad.provider:NomadProvider",
    "kubernetes": "cloudmesh.cluster.providers.kubernetes.provider:KubernetesProvider",
}
_ALIASES = {"k8s": "kubernetes"}


def provider_kind(text: str) -> str:
    """Return the kind that `text` names, in any case; UsageError where no provider is called that."""
    kind = _ALIASES.get(text.lower(), text.lower())
    if kind not in PROVIDERS:
        raise UsageError(f"provider {text!a} is not known: use {' or '.join(PROVIDERS)}")
    return kind


def load_provider(text: str) -> Provider:
    """Return the provider called `text`, in any case; UsageError where there is none."""
    from importlib import import_module

    module, _, name = PROVIDERS[provider_kind(text)].partition(":")
    provider: Provider = getattr(import_module(module), name)()
    return provider
