"""The places for data that a cluster knows, through its API; see `storage.py` for what they are there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.errors import ApiError, InUseError, NotFoundError
from cloudmesh.cluster.kubernetes import rest, storage
from cloudmesh.cluster.kubernetes.access import ConflictError, asked
from cloudmesh.cluster.kubernetes.known import LIVING
from cloudmesh.cluster.kubernetes.pods import claim
from cloudmesh.cluster.kubernetes.podstatus import job_of
from cloudmesh.cluster.model import Place

if TYPE_CHECKING:
    from kubernetes import client

_SECRETS = rest.collection("v1", "secrets", storage.NAMESPACE)
_UNPROTECTED = {"metadata": {"finalizers": None}}


class Places:
    """The places of one cluster.

    Args:
        its: the client.
    """

    def __init__(self, its: client.ApiClient) -> None:
        self._its = its

    def all(self) -> tuple[Place, ...]:
        """Return every place, by name."""
        found = asked(self._its, _SECRETS.list(labels=storage.PLACE))["items"]
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
        asked(self._its, _SECRETS.replace(place.name, body) if known else _SECRETS.create(body))

    def remove(self, name: str) -> None:
        """Forget a place, unless a job that runs has it mounted; NotFoundError where there is none."""
        if name not in [place.name for place in self.all()]:
            raise NotFoundError(f"no place {name}")
        users = sorted({job_of(pod) for pod in self._living() if storage.uses(pod, name)})
        if users:
            raise InUseError(name, users)
        with suppress(NotFoundError):
            asked(self._its, rest.CLAIMS.delete(claim(name)))
            # Kubernetes would keep it for pods that have ended, and a new place of the name would be kept waiting.
            asked(self._its, rest.CLAIMS.patch(claim(name), _UNPROTECTED))
        with suppress(NotFoundError):
            asked(self._its, rest.VOLUMES.delete(claim(name)))
            asked(self._its, rest.VOLUMES.patch(claim(name), _UNPROTECTED))
        asked(self._its, _SECRETS.delete(name))

    def _made(self, thing: dict[str, Any]) -> None:
        where = rest.VOLUMES if thing["kind"] == "PersistentVolume" else rest.CLAIMS
        with suppress(ConflictError):
            asked(self._its, where.create(thing))

    def _living(self) -> list[dict[str, Any]]:
        found = asked(self._its, rest.PODS.list(fields=LIVING))
        return list(found["items"])
