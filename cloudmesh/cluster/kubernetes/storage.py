"""Directories of the hosts as Kubernetes' volumes, and the places for data as it keeps them. Pure.

A place is kept as a secret, in a namespace where no pod is: it has keys, and pods may mount what is in their own. A
place that is a directory on every host is, beside that, a persistent volume and a claim on it among the jobs, which
are bound to each other and to nothing else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cloudmesh.cluster.kubernetes.pods import HOST_RESULTS, JOBS_NAMESPACE, RESULTS_CLAIM, claim
from cloudmesh.cluster.model import Place

NAMESPACE = PLACE = "cms-storage"
_KEY = "place"
# Kubernetes wants a size and does nothing with it here.
_SIZE = "1Ti"


def results() -> list[dict[str, Any]]:
    """Return the volume that takes the results of all jobs, on each host its own."""
    return _volume(RESULTS_CLAIM, HOST_RESULTS, {})


def volume(place: Place) -> list[dict[str, Any]]:
    """Return volume and claim of a place; none where it is no directory."""
    path = place.directory
    return _volume(claim(place.name), path, {PLACE: place.name}) if path else []


def secret(place: Place) -> dict[str, Any]:
    """Return a place as it is kept."""
    kept = {"kind": place.kind, "settings": dict(place.settings), "secrets": dict(place.secrets)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": place.name, "namespace": NAMESPACE, "labels": {PLACE: place.name}},
        "stringData": {_KEY: json.dumps(kept, sort_keys=True)},
    }


def place(kept: Mapping[str, Any]) -> Place:
    """Return the place that a secret keeps."""
    return Place(name=kept["metadata"]["labels"][PLACE], **json.loads(base64.b64decode(kept["data"][_KEY])))


def uses(pod: Mapping[str, Any], name: str) -> bool:
    """Return whether a pod mounts a place."""
    claims = (each.get("persistentVolumeClaim", {}).get("claimName") for each in pod["spec"].get("volumes", []))
    return claim(name) in claims


def _volume(name: str, path: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
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
