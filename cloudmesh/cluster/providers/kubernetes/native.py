"""Kubernetes objects as somebody wrote them, handed over by server-side apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.kubernetes import requests
from cloudmesh.cluster.providers.kubernetes.api_client import call
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOBS_NAMESPACE

if TYPE_CHECKING:
    from kubernetes import client


_MANAGER = "cms-cluster"


def kubectl_name(thing: Mapping[str, Any]) -> str:
    """Return what kubectl calls an object: "deployment.apps/web"."""
    group, slash, _ = thing["apiVersion"].rpartition("/")
    return f"{thing['kind'].lower()}{'.' if slash else ''}{group}/{thing['metadata']['name']}"


def can_be_followed(thing: Mapping[str, Any]) -> bool:
    """Return whether an object is a job that begins by itself, in the namespace whose jobs are told."""
    is_job = thing["kind"] == "Job" and thing["apiVersion"].startswith("batch/")
    here = thing["metadata"].get("namespace") in (None, "", JOBS_NAMESPACE)
    return is_job and here and not (thing.get("spec") or {}).get("suspend")


def apply(its: client.ApiClient, thing: dict[str, Any], *, dry: bool = False) -> dict[str, Any]:
    """Hand an object over; one that is there is changed to it, fields of other managers excepted.

    Args:
        its: the client.
        thing: the object, its names checked.
        dry: the API server tells what it would make of it, and makes nothing.

    Returns:
        The object as the API server has it.

    Raises:
        ApiError: it is refused, or its kind is not known.
    """
    options = {"fieldManager": _MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry else {})
    try:
        request = _collection_of(its, thing).apply(thing["metadata"]["name"], thing, **options)
        made: dict[str, Any] = call(its, request)
    except NotFoundError as error:
        # Not the user's job or cluster, but a namespace or group that this manifest supposes.
        raise ApiError(f"{kubectl_name(thing)}: {error}") from error
    except ApiError as error:
        raise type(error)(f"{kubectl_name(thing)}: {error}") from error
    made["metadata"].pop("managedFields", None)
    return made


def _collection_of(its: client.ApiClient, thing: Mapping[str, Any]) -> requests.Collection:
    """Return where an object belongs, as the API server says of its kind."""
    version, kind = thing["apiVersion"], thing["kind"]
    try:
        known = call(its, requests.list_kinds(version))["resources"]
    except NotFoundError:
        known = []
    for each in known:
        if each["kind"] == kind and "/" not in each["name"]:
            namespace = thing["metadata"].get("namespace") or JOBS_NAMESPACE
            return requests.collection(version, each["name"], namespace if each["namespaced"] else "")
    raise ApiError(f"Kubernetes: there is no kind {kind!a} in {version}")
