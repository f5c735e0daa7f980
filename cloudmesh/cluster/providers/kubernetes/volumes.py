"""The places for data that a cluster knows, through its API; see `storage.py` for what they are there."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, InUseError, NotFoundError
from cloudmesh.cluster.core.model import Volume
from cloudmesh.cluster.providers.kubernetes import requests
from cloudmesh.cluster.providers.kubernetes.api_client import ConflictError, call
from cloudmesh.cluster.providers.kubernetes.jobs import UNFINISHED
from cloudmesh.cluster.providers.kubernetes.pod_spec import HOST_RESULTS, JOBS_NAMESPACE, RESULTS_CLAIM, claim_name
from cloudmesh.cluster.providers.kubernetes.pod_status import job_of

if TYPE_CHECKING:
    from kubernetes import client


NAMESPACE = VOLUME = "cms-storage"
_KEY = "place"
# Kubernetes wants a size and does nothing with it here.
_SIZE = "1Ti"
_SECRETS = requests.collection("v1", "secrets", NAMESPACE)
_UNPROTECTED = {"metadata": {"finalizers": None}}


class VolumeStore:
    """The places of one cluster.

    Args:
        its: the client.
    """

    def __init__(self, its: client.ApiClient) -> None:
        self._its = its

    def all(self) -> tuple[Volume, ...]:
        """Return every place, by name."""
        found = call(self._its, _SECRETS.list(labels=VOLUME))["items"]
        return tuple(sorted(map(parse_volume_secret, found), key=lambda place: place.name))

    def put(self, place: Volume) -> None:
        """Keep a place; a directory stays what it was, as jobs may have it mounted."""
        known = next((each for each in self.all() if each.name == place.name), None)
        if known and known.directory != place.directory:
            raise ApiError(f"place {place.name} is another directory: remove it first, its data stays")
        # The secret comes last: it is what says that the place is there.
        for thing in build_volume_objects(place):
            self._made(thing)
        body = build_volume_secret(place)
        call(self._its, _SECRETS.replace(place.name, body) if known else _SECRETS.create(body))

    def remove(self, name: str) -> None:
        """Forget a place, unless a job that runs has it mounted; NotFoundError where there is none."""
        if name not in [place.name for place in self.all()]:
            raise NotFoundError(f"no place {name}")
        users = sorted({job_of(pod) for pod in self._living() if is_mounted_by(pod, name)})
        if users:
            raise InUseError(name, users)
        with suppress(NotFoundError):
            call(self._its, requests.CLAIMS.delete(claim_name(name)))
            # Kubernetes would keep it for pods that have ended, and a new place of the name would be kept waiting.
            call(self._its, requests.CLAIMS.patch(claim_name(name), _UNPROTECTED))
        with suppress(NotFoundError):
            call(self._its, requests.VOLUMES.delete(claim_name(name)))
            call(self._its, requests.VOLUMES.patch(claim_name(name), _UNPROTECTED))
        call(self._its, _SECRETS.delete(name))

    def _made(self, thing: dict[str, Any]) -> None:
        where = requests.VOLUMES if thing["kind"] == "PersistentVolume" else requests.CLAIMS
        with suppress(ConflictError):
            call(self._its, where.create(thing))

    def _living(self) -> list[dict[str, Any]]:
        found = call(self._its, requests.PODS.list(fields=UNFINISHED))
        return list(found["items"])


def build_results_volume() -> list[dict[str, Any]]:
    """Return the volume that takes the results of all jobs, on each host its own."""
    return _persistent_volume(RESULTS_CLAIM, HOST_RESULTS, {})


def build_volume_objects(place: Volume) -> list[dict[str, Any]]:
    """Return volume and claim of a place; none where it is no directory."""
    path = place.directory
    return _persistent_volume(claim_name(place.name), path, {VOLUME: place.name}) if path else []


def build_volume_secret(place: Volume) -> dict[str, Any]:
    """Return a place as it is kept."""
    kept = {"kind": place.kind, "settings": dict(place.settings), "secrets": dict(place.secrets)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": place.name, "namespace": NAMESPACE, "labels": {VOLUME: place.name}},
        "stringData": {_KEY: json.dumps(kept, sort_keys=True)},
    }


def parse_volume_secret(kept: Mapping[str, Any]) -> Volume:
    """Return the place that a secret keeps."""
    return Volume(name=kept["metadata"]["labels"][VOLUME], **json.loads(base64.b64decode(kept["data"][_KEY])))


def is_mounted_by(pod: Mapping[str, Any], name: str) -> bool:
    """Return whether a pod mounts a place."""
    claims = (each.get("persistentVolumeClaim", {}).get("claimName") for each in pod["spec"].get("volumes", []))
    return claim_name(name) in claims


def _persistent_volume(name: str, path: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    shared = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {
        **shared,
        "capacity": {"storage": _SIZE},
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": JOBS_NAMESPACE, "name": name},
        # A host that lacks the directory gets no job that needs it going, instead of an empty one.
        "hostPath": {"path": path, "type": "Directory"},
    }
    asked = {**shared, "volumeName": name, "resources": {"requests": {"storage": _SIZE}}}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": dict(labels)},
            "spec": volume,
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": JOBS_NAMESPACE, "labels": dict(labels)},
            "spec": asked,
        },
    ]
