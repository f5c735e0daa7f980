"""Places for data, as Nomad keeps them: a variable for each, and on each host a host volume of the same name."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, InUseError, NotFoundError
from cloudmesh.cluster.core.model import Volume
from cloudmesh.cluster.providers.nomad.api_client import RawRequests, call
from cloudmesh.cluster.providers.nomad.job_spec import ACCESS, ATTACHMENT

if TYPE_CHECKING:
    import nomad


_VARIABLES = "cms/storage"
_POLL_SECONDS, _READY_SECONDS = 0.3, 30.0


class VolumeStore:
    """The places of one cluster.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._volumes = RawRequests("volumes", client)
        self._volume = RawRequests("volume/host", client)

    def all(self) -> tuple[Volume, ...]:
        """Return every place, by name."""
        found = call(lambda: self._client.variables.get_variables(prefix=f"{_VARIABLES}/"))
        variables = [call(partial(self._client.variable.get_variable, each["Path"])) for each in found]
        return tuple(sorted((_volume(each) for each in variables), key=lambda place: place.name))

    def put(self, place: Volume, node_ids: Sequence[str]) -> None:
        """Keep a place; where it is a directory, every one of these hosts gets its volume."""
        path = place.directory
        if path:
            there = self._of(place.name)
            for node_id in node_ids:
                self._register(place.name, path, node_id, there.get(node_id))
            self._await_ready(place.name, node_ids)
        items = {"kind": place.kind, "settings": _json(place.settings), "secrets": _json(place.secrets)}
        call(
            lambda: self._client.variable.create_variable(
                f"{_VARIABLES}/{place.name}", {"Path": f"{_VARIABLES}/{place.name}", "Items": items}
            )
        )

    def remove(self, name: str) -> None:
        """Forget a place; nothing is done where a job has it mounted."""
        path = f"{_VARIABLES}/{name}"
        if path not in {each["Path"] for each in call(lambda: self._client.variables.get_variables(prefix=path))}:
            raise NotFoundError(f"no place {name}: `cms cluster storage` lists those there are")
        volumes = [self._full(stub["ID"]) for stub in self._of(name).values()]
        users = sorted({each["JobID"] for volume in volumes for each in volume.get("Allocations") or []})
        if users:
            raise InUseError(name, users)
        for volume in volumes:
            self._delete(volume["ID"])
        call(lambda: self._client.variable.delete_variable(path))

    def forget(self, node_id: str) -> None:
        """Strike the volumes of a host that is no more off the list."""
        for each in self._listed({"node_id": node_id}):
            self._delete(each["ID"])

    def _register(self, name: str, path: str, node_id: str, stub: Mapping[str, Any] | None) -> None:
        if stub:
            if self._full(stub["ID"])["HostPath"] == path:
                return
            self._delete(stub["ID"])
        volume = {
            "Name": name,
            "NodeID": node_id,
            "HostPath": path,
            "RequestedCapabilities": [{"AccessMode": ACCESS, "AttachmentMode": ATTACHMENT}],
        }
        self._volume.ask("put", "register", json={"Volume": volume})

    def _await_ready(self, name: str, node_ids: Sequence[str]) -> None:
        """Wait until jobs can be placed where the volume is."""
        deadline = time.monotonic() + _READY_SECONDS
        while waiting := [node for node in node_ids if self._of(name).get(node, {}).get("State") != "ready"]:
            if time.monotonic() > deadline:
                raise ApiError(f"place {name}: after {_READY_SECONDS:.0f} s {len(waiting)} hosts do not offer it")
            time.sleep(_POLL_SECONDS)

    def _of(self, name: str) -> dict[str, Mapping[str, Any]]:
        """Return the volumes of a place, by the host's id."""
        return {each["NodeID"]: each for each in self._listed({}) if each["Name"] == name}

    def _listed(self, params: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] | None = self._volumes.ask("get", params={"type": "host", **params})
        return found or []

    def _full(self, volume_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._volume.ask("get", volume_id)
        return found

    def _delete(self, volume_id: str) -> None:
        # Nothing of a directory that was registered is removed; a host that does not answer keeps nothing back.
        self._volume.ask("delete", volume_id, params={"force": "true"})


def _volume(variable: Mapping[str, Any]) -> Volume:
    items = variable["Items"]
    name = variable["Path"].rpartition("/")[2]
    return Volume(name, items["kind"], json.loads(items["settings"]), json.loads(items["secrets"]))


def _json(fields: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(fields.items())))
