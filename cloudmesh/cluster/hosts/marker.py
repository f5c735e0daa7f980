"""The file by which a host knows its cluster, as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Marker, Role

PATH = "/etc/cloudmesh/cluster/marker.json"


def dumps(marker: Marker) -> bytes:
    """Return the marker as the file's content; the same marker gives the same bytes."""
    return (json.dumps(dataclasses.asdict(marker), indent=2, sort_keys=True) + "\n").encode()


def loads(text: str | bytes) -> Marker:
    """Return the marker that is written in `text`; fields that a later version added are passed over.

    Raises:
        ClusterError: this is no marker, or one that was tampered with.
    """
    try:
        return _marker(json.loads(text))
    except (KeyError, TypeError, ValueError, ClusterError) as error:
        raise ClusterError(f"the cluster marker {PATH} is damaged ({error})") from error


def _marker(fields: Any) -> Marker:
    servers = fields["servers"]
    if not isinstance(servers, list):
        raise TypeError("servers is no list")
    return Marker(
        cluster=names.check(_text(fields["cluster"]), "cluster name"),
        id=_text(fields["id"]),
        provider=_text(fields["provider"]),
        role=Role(fields["role"]),
        address=_text(fields["address"]),
        servers=tuple(_text(server) for server in servers),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise TypeError(f"{value!r} is no text of one line")
    return value
