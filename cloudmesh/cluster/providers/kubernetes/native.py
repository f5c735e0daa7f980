"""Kubernetes objects that users wrote themselves, created and changed by server-side apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.kubernetes import requests
from cloudmesh.cluster.providers.kubernetes.api_client import call
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOBS_NAMESPACE

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


_FIELD_MANAGER = "cms-cluster"


def kubectl_name(manifest: Mapping[str, Any]) -> str:
    """Return what kubectl calls an object: "deployment.apps/web"."""
    group, slash, _ = manifest["apiVersion"].rpartition("/")
    return f"{manifest['kind'].lower()}{'.' if slash else ''}{group}/{manifest['metadata']['name']}"


def can_be_followed(manifest: Mapping[str, Any]) -> bool:
    """Return whether an object is a Job in our namespace, whose jobs we list, and starts without further commands."""
    is_job = manifest["kind"] == "Job" and manifest["apiVersion"].startswith("batch/")
    is_ours = manifest["metadata"].get("namespace") in (None, "", JOBS_NAMESPACE)
    return is_job and is_ours and not (manifest.get("spec") or {}).get("suspend")


def apply(client: ApiClient, manifest: dict[str, Any], *, dry: bool = False) -> dict[str, Any]:
    """Create an object, or change the existing one to it; fields of other field managers stay as they are.

    Args:
        client: the API client.
        manifest: the object; its names have been checked.
        dry: the API server only returns what it would do.

    Returns:
        The object as the API server has it then.

    Raises:
        ApiError: the API server refuses the object, does not know its kind, or does not answer.
    """
    options = {"fieldManager": _FIELD_MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry else {})
    try:
        collection = _find_collection(client, manifest)
        applied: dict[str, Any] = call(client, collection.apply(manifest["metadata"]["name"], manifest, **options))
    except NotFoundError as error:
        # What is missing is not the job or the cluster of the user, but a namespace or group that the object refers to.
        raise ApiError(f"{kubectl_name(manifest)}: {error}") from error
    except ApiError as error:
        raise type(error)(f"{kubectl_name(manifest)}: {error}") from error
    applied["metadata"].pop("managedFields", None)
    return applied


def _find_collection(client: ApiClient, manifest: Mapping[str, Any]) -> requests.Collection:
    """Return the collection to which the API server assigns objects of this kind; ApiError if it has none."""
    version, kind = manifest["apiVersion"], manifest["kind"]
    try:
        resources = call(client, requests.list_kinds(version))["resources"]
    except NotFoundError:
        resources = []
    for resource in resources:
        if resource["kind"] == kind and "/" not in resource["name"]:
            namespace = manifest["metadata"].get("namespace") or JOBS_NAMESPACE
            return requests.collection(version, resource["name"], namespace if resource["namespaced"] else "")
    raise ApiError(f"Kubernetes: there is no kind {kind!a} in {version}")
