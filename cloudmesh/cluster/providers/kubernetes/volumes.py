"""The volumes of a cluster: how they are stored in Kubernetes, and how pods mount them.

A volume is stored as a Secret in a namespace of its own. If it is a directory on the hosts, it also has a
PersistentVolume and a PersistentVolumeClaim, which pods mount. See `storage/service.py` for what volumes are.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, InUseError, NotFoundError
from cloudmesh.cluster.core.model import Volume
from cloudmesh.cluster.providers.kubernetes import requests
from cloudmesh.cluster.providers.kubernetes.api_client import ConflictError, call, list_all
from cloudmesh.cluster.providers.kubernetes.jobs import UNFINISHED
from cloudmesh.cluster.providers.kubernetes.pod_spec import HOST_RESULTS, JOBS_NAMESPACE, RESULTS_CLAIM, claim_name
from cloudmesh.cluster.providers.kubernetes.pod_status import job_of

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


NAMESPACE = VOLUME_LABEL = "cms-storage"
_KEY = "place"
# Kubernetes requires a size, and ignores it for directories of hosts.
_SIZE = "1Ti"
_SECRETS = requests.collection("v1", "secrets", NAMESPACE)
_NO_FINALIZERS = {"metadata": {"finalizers": None}}


class VolumeStore:
    """The volumes of one cluster.

    Args:
        client: the API client.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    def all(self) -> tuple[Volume, ...]:
        """Return every volume, sorted by name."""
        secrets = list_all(self._client, _SECRETS.list(labels=VOLUME_LABEL))
        return tuple(sorted(map(parse_volume_secret, secrets), key=lambda volume: volume.name))

    def put(self, volume: Volume) -> None:
        """Store a new volume, or replace the stored one of the same name.

        Raises:
            ApiError: the stored volume has another directory, which jobs may have mounted.
        """
        stored = next((other for other in self.all() if other.name == volume.name), None)
        if stored and stored.directory != volume.directory:
            raise ApiError(f"volume {volume.name} is another directory: remove it first, its data stays")
        for manifest in build_volume_objects(volume):
            collection = requests.VOLUMES if manifest["kind"] == "PersistentVolume" else requests.CLAIMS
            with suppress(ConflictError):
                call(self._client, collection.create(manifest))
        # The Secret comes last: the volume exists as soon as its Secret does.
        secret = build_volume_secret(volume)
        call(self._client, _SECRETS.replace(volume.name, secret) if stored else _SECRETS.create(secret))

    def remove(self, name: str) -> None:
        """Remove a volume from the cluster; its data stays.

        Raises:
            NotFoundError: there is no volume of this name.
            InUseError: pods that have not ended mount it.
        """
        if name not in [volume.name for volume in self.all()]:
            raise NotFoundError(f"no volume {name}: `cms cluster storage -n NAME list` lists those there are")
        pods = list_all(self._client, requests.PODS.list(fields=UNFINISHED))
        users = sorted({job_of(pod) for pod in pods if is_mounted_by(pod, name)})
        if users:
            raise InUseError(name, users)
        # While pods that have ended still refer to claim or volume, Kubernetes would only mark them for deletion, and a
        # new volume of the same name would have to wait.
        for collection in (requests.CLAIMS, requests.VOLUMES):
            with suppress(NotFoundError):
                call(self._client, collection.delete(claim_name(name)))
                call(self._client, collection.patch(claim_name(name), _NO_FINALIZERS))
        call(self._client, _SECRETS.delete(name))


def build_results_volume() -> list[dict[str, Any]]:
    """Return PersistentVolume and claim of the directory that takes the results of all jobs; each host has its own."""
    return _build_persistent_volume(RESULTS_CLAIM, HOST_RESULTS, {})


def build_volume_objects(volume: Volume) -> list[dict[str, Any]]:
    """Return PersistentVolume and claim of a volume; an empty list if the volume has no directory on the hosts."""
    path = volume.directory
    return _build_persistent_volume(claim_name(volume.name), path, {VOLUME_LABEL: volume.name}) if path else []


def build_volume_secret(volume: Volume) -> dict[str, Any]:
    """Return the Secret that stores a volume."""
    fields = {"kind": volume.kind, "settings": dict(volume.settings), "secrets": dict(volume.secrets)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": volume.name, "namespace": NAMESPACE, "labels": {VOLUME_LABEL: volume.name}},
        "stringData": {_KEY: json.dumps(fields, sort_keys=True)},
    }


def parse_volume_secret(secret: Mapping[str, Any]) -> Volume:
    """Return the volume that a Secret stores; the Secret is as the API server returns it, in base64."""
    fields = json.loads(base64.b64decode(secret["data"][_KEY]))
    return Volume(name=secret["metadata"]["labels"][VOLUME_LABEL], **fields)


def is_mounted_by(pod: Mapping[str, Any], name: str) -> bool:
    """Return whether a pod mounts the volume called `name`."""
    volumes = pod["spec"].get("volumes", [])
    return claim_name(name) in [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in volumes]


def _build_persistent_volume(name: str, path: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {
        **common,
        "capacity": {"storage": _SIZE},
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": JOBS_NAMESPACE, "name": name},
        # With "Directory", pods do not start on a host that lacks the directory, instead of writing to an empty one.
        "hostPath": {"path": path, "type": "Directory"},
    }
    claim = {**common, "volumeName": name, "resources": {"requests": {"storage": _SIZE}}}
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
            "spec": claim,
        },
    ]
