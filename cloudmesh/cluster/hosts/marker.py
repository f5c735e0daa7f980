"""Writes and reads the marker, the JSON file that says which cluster a host belongs to."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Marker, Role
from cloudmesh.cluster.core.paths import CONFIG_DIR

PATH = f"{CONFIG_DIR}/marker.json"


def dumps(marker: Marker) -> bytes:
    """Return the content of the file for `marker`; equal markers give equal bytes."""
    return (json.dumps(dataclasses.asdict(marker), indent=2, sort_keys=True) + "\n").encode()


def loads(text: str | bytes) -> Marker:
    """Return the marker that `text` describes; fields that a later version added are ignored.

    Raises:
        ClusterError: `text` is not JSON, or a field is missing or has an invalid value.
    """
    try:
        return _parse_fields(json.loads(text))
    except (KeyError, TypeError, ValueError, ClusterError) as error:
        raise ClusterError(f"the cluster marker {PATH} is damaged ({error})") from error


def node_of(text: str) -> str:
    """Return the name of its node that a host's marker says; empty where it has no marker, or one that says none."""
    return loads(text).node if text else ""


def _parse_fields(fields: Any) -> Marker:
    servers = fields["servers"]
    if not isinstance(servers, list):
        raise TypeError("servers is not a list")
    return Marker(
        cluster=names.check(_check_text(fields["cluster"]), "cluster name"),
        id=_check_text(fields["id"]),
        provider=_check_text(fields["provider"]),
        role=Role(fields["role"]),
        address=_check_text(fields["address"]),
        servers=tuple(_check_text(server) for server in servers),
        node=_check_text(fields["node"]) if fields.get("node") else "",
        generation=int(fields.get("generation", 0)),
        version=_check_text(fields["version"]) if fields.get("version") else "",
        paused=bool(fields.get("paused", False)),
    )


def _check_text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise TypeError(f"{value!r} is not a text of one line")
    return value
