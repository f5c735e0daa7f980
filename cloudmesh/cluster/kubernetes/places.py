"""The places for data that a cluster knows, through its API; see `storage.py` for what they are there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.errors import ApiError, InUseError, NotFoundError
from cloudmesh.cluster.kubernetes import storage
from cloudmesh.cluster.kubernetes.access import ConflictError, asked
from cloudmesh.cluster.kubernetes.known import LIVING
from cloudmesh.cluster.kubernetes.pods import JOBS_NAMESPACE, claim
from cloudmesh.cluster.kubernetes.podstatus import job_of
from cloudmesh.cluster.model import Place

if TYPE_CHECKING:
    from kubernetes import client

_UNPROTECTED = {"metadata": {"finalizers": None}}


class Places:
    """The places of one cluster.

    Args:
        core: its API.
    """

    def __init__(self, core: client.CoreV1Api) -> None:
        self._core = core

    def all(self) -> tuple[Place, ...]:
        """Return every place, by name."""
        found = asked(self._core.list_namespaced_secret, storage.NAMESPACE, label_selector=storage.PLACE)["items"]
        return tuple(sorted(map(storage.place, found), key=lambda place: place.name))

    def put(self, place: Place) -> None:
        """Keep a place; a directory stays what it was, as jobs may have it mounted."""
        known = next((each for each in self.all() if each.name == place.name), None)
        if known and known.directory != place.directory:
            raise ApiError(f"place {place.name} is another directory: remove it first, its data stays")
        # The secret comes last: it is what says that the place is there.
        for thing in storage.volume(place):
            self._made(thing)
        body = storage.secret(place)
        if known:
            asked(self._core.replace_namespaced_secret, place.name, storage.NAMESPACE, body)
        else:
            asked(self._core.create_namespaced_secret, storage.NAMESPACE, body)

    def remove(self, name: str) -> None:
        """Forget a place, unless a job that runs has it mounted; NotFoundError where there is none."""
        if name not in [place.name for place in self.all()]:
            raise NotFoundError(f"no place {name}")
        users = sorted({job_of(pod) for pod in self._living() if storage.uses(pod, name)})
        if users:
            raise InUseError(name, users)
        with suppress(NotFoundError):
            asked(self._core.delete_namespaced_persistent_volume_claim, claim(name), JOBS_NAMESPACE)
            # Kubernetes would keep it for pods that have ended, and a new place of the name would be kept waiting.
            asked(self._core.patch_namespaced_persistent_volume_claim, claim(name), JOBS_NAMESPACE, _UNPROTECTED)
        with suppress(NotFoundError):
            asked(self._core.delete_persistent_volume, claim(name))
            asked(self._core.patch_persistent_volume, claim(name), _UNPROTECTED)
        asked(self._core.delete_namespaced_secret, name, storage.NAMESPACE)

    def _made(self, thing: dict[str, Any]) -> None:
        with suppress(ConflictError):
            if thing["kind"] == "PersistentVolume":
                asked(self._core.create_persistent_volume, thing)
            else:
                asked(self._core.create_namespaced_persistent_volume_claim, JOBS_NAMESPACE, thing)

    def _living(self) -> list[dict[str, Any]]:
        found = asked(self._core.list_namespaced_pod, JOBS_NAMESPACE, field_selector=LIVING)
        return list(found["items"])
