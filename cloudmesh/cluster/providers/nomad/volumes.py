"""The cluster's volumes, as Nomad stores them.

Each is a Nomad variable. If it is a directory on the hosts, there is also a host volume of the same name on every host.
"""

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
    """The volumes of one cluster.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._host_volumes = RawRequests("volumes", client)
        self._host_volume = RawRequests("volume/host", client)

    def all(self) -> tuple[Volume, ...]:
        """Return every volume, sorted by name."""
        entries = call(lambda: self._client.variables.get_variables(prefix=f"{_VARIABLES}/"))
        variables = [call(partial(self._client.variable.get_variable, entry["Path"])) for entry in entries]
        return tuple(sorted(map(_parse_variable, variables), key=lambda volume: volume.name))

    def put(self, volume: Volume, node_ids: Sequence[str]) -> None:
        """Store a new volume, or replace the stored one of the same name.

        Args:
            volume: the volume.
            node_ids: nodes that get a host volume for it, if it is a directory.

        Raises:
            ApiError: after half a minute a node still does not offer its host volume.
        """
        if directory := volume.directory:
            registered = self._list_by_node(volume.name)
            for node_id in node_ids:
                self._register(volume.name, directory, node_id, registered.get(node_id))
            self._wait_until_ready(volume.name, node_ids)
        path = f"{_VARIABLES}/{volume.name}"
        items = {
            "kind": volume.kind,
            "settings": _format_json(volume.settings),
            "secrets": _format_json(volume.secrets),
        }
        call(lambda: self._client.variable.create_variable(path, {"Path": path, "Items": items}))

    def remove(self, name: str) -> None:
        """Remove a volume; the data stays.

        Raises:
            NotFoundError: there is no such volume.
            InUseError: a job has it mounted; nothing was done.
        """
        path = f"{_VARIABLES}/{name}"
        entries = call(lambda: self._client.variables.get_variables(prefix=path))
        if path not in {entry["Path"] for entry in entries}:
            raise NotFoundError(f"no volume {name}: `cms cluster storage -n NAME list` lists those there are")
        host_volumes = [self._read_host_volume(entry["ID"]) for entry in self._list_by_node(name).values()]
        allocations = [entry for host_volume in host_volumes for entry in host_volume.get("Allocations") or []]
        if job_ids := sorted({allocation["JobID"] for allocation in allocations}):
            raise InUseError(name, job_ids)
        for host_volume in host_volumes:
            self._delete(host_volume["ID"])
        call(lambda: self._client.variable.delete_variable(path))

    def remove_node(self, node_id: str) -> None:
        """Remove the host volumes of a node that has left the cluster."""
        for entry in self._list_host_volumes({"node_id": node_id}):
            self._delete(entry["ID"])

    def _register(self, name: str, directory: str, node_id: str, registered: Mapping[str, Any] | None) -> None:
        """Register a host volume, in place of a registered one that is another directory."""
        if registered:
            if self._read_host_volume(registered["ID"])["HostPath"] == directory:
                return
            self._delete(registered["ID"])
        host_volume = {
            "Name": name,
            "NodeID": node_id,
            "HostPath": directory,
            "RequestedCapabilities": [{"AccessMode": ACCESS, "AttachmentMode": ATTACHMENT}],
        }
        self._host_volume.ask("put", "register", json={"Volume": host_volume})

    def _wait_until_ready(self, name: str, node_ids: Sequence[str]) -> None:
        """Wait until jobs that mount a volume can be placed on these nodes."""
        deadline = time.monotonic() + _READY_SECONDS
        while waiting := [node for node in node_ids if self._list_by_node(name).get(node, {}).get("State") != "ready"]:
            if time.monotonic() > deadline:
                raise ApiError(f"volume {name}: after {_READY_SECONDS:.0f} s {len(waiting)} hosts do not offer it")
            time.sleep(_POLL_SECONDS)

    def _list_by_node(self, name: str) -> dict[str, Mapping[str, Any]]:
        """Return the host volumes of a volume, by their node's id."""
        return {entry["NodeID"]: entry for entry in self._list_host_volumes({}) if entry["Name"] == name}

    def _list_host_volumes(self, params: Mapping[str, str]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] | None = self._host_volumes.ask("get", params={"type": "host", **params})
        return entries or []

    def _read_host_volume(self, volume_id: str) -> dict[str, Any]:
        """Return all of a host volume; in the list, path and allocations are missing."""
        host_volume: dict[str, Any] = self._host_volume.ask("get", volume_id)
        return host_volume

    def _delete(self, volume_id: str) -> None:
        # Nomad removes nothing of a directory that was registered. With "force", a silent host does not prevent this.
        self._host_volume.ask("delete", volume_id, params={"force": "true"})


def _parse_variable(variable: Mapping[str, Any]) -> Volume:
    items = variable["Items"]
    name = variable["Path"].rpartition("/")[2]
    return Volume(name, items["kind"], json.loads(items["settings"]), json.loads(items["secrets"]))


def _format_json(fields: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(fields.items())))
