"""How Nomad's gossip key, management token and keyring are replaced; its agents read certificates again by a signal.

Source of the requests: Nomad's HTTP API, version 1.10 (/v1/agent/keyring, /v1/acl, /v1/operator/keyring).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.cluster_spec import ClusterSpec
from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.core.model import Marker, Role
from cloudmesh.cluster.providers.nomad import bootstrap
from cloudmesh.cluster.providers.nomad.api_client import RawRequests, call, open_client
from cloudmesh.cluster.providers.rotation import EngineRotation, Stage

if TYPE_CHECKING:
    import nomad

    from cloudmesh.cluster.ssh.connection import Connection

# What Nomad calls the token that its bootstrap makes, and how the names of those begin that a rotation makes.
_FIRST_TOKEN, _TOKEN = "Bootstrap Token", "cloudmesh "


class NomadRotation(EngineRotation):
    """See `EngineRotation` for what each method does."""

    def files(self, spec: ClusterSpec, host: Marker, stage: Stage, now: float) -> Mapping[str, bytes]:
        """Return, at the end, the new secrets of a server: they are read where a server begins without its data."""
        if host.role is not Role.SERVER or stage is not Stage.DROPPED:
            return {}
        files = bootstrap.secret_files(spec.secrets.engine)
        return {name: json.dumps(fields, indent=2).encode() for name, fields in files.items()}

    def adopt(self, server: Connection, spec: ClusterSpec) -> Mapping[str, str]:
        """Have all servers use the new gossip key, and make a management token.

        Nomad chooses the token. One that a rotation made before it was cut off is deleted with the old ones.
        """
        assert spec.secrets.successor  # noqa: S101 - the caller's promise
        new = spec.secrets.successor
        with open_client(server, spec.secrets.engine["token"]) as client:
            _use_gossip_key(client, new.engine["gossip"], len(spec.servers))
            if _is_valid(server, new.engine["token"]):
                return new.engine
            token = {"Name": f"{_TOKEN}{new.rotation}", "Type": "management", "Global": True}
            return {**new.engine, "token": call(partial(client.acl.create_token, token), attempts=1)["SecretID"]}

    def revoke(self, server: Connection, spec: ClusterSpec) -> None:
        """Delete the old tokens of ours and the old gossip key, and encrypt what Nomad stores with a new key."""
        assert spec.secrets.predecessor  # noqa: S101 - the caller's promise
        with open_client(server, spec.secrets.engine["token"]) as client:
            ours = call(client.acl.get_self_token)["AccessorID"]
            for token in call(client.acl.get_tokens):
                is_of_cluster = token["Name"] == _FIRST_TOKEN or token["Name"].startswith(_TOKEN)
                if is_of_cluster and token["AccessorID"] != ours:
                    call(partial(client.acl.delete_token, token["AccessorID"]))
            gossip, old = RawRequests("agent/keyring", client), spec.secrets.predecessor.engine["gossip"]
            if old in gossip.ask("get", "list")["Keys"]:
                gossip.ask("post", "remove", json={"Key": old})
            RawRequests("operator/keyring", client).ask("put", "rotate", params={"full": "true"})

    def silent_nodes(self, server: Connection, spec: ClusterSpec) -> Mapping[str, str]:
        """Return the nodes that do not answer through the servers, on the connections that they opened anew."""
        silent: dict[str, str] = {}
        with open_client(server, spec.secrets.engine["token"]) as client:
            statistics = RawRequests("client/stats", client)
            for node in call(client.nodes.get_nodes):
                try:
                    call(partial(statistics.request, params={"node_id": node["ID"]}, method="get"), attempts=1)
                # No server has a connection from a node that tries them again: "No path to node (HTTP 404)".
                except (ApiError, NotFoundError) as error:
                    silent[node["Address"]] = str(error)
        return silent


def _use_gossip_key(client: nomad.Nomad, key: str, servers: int) -> None:
    """Have all servers encrypt their gossip with `key`; ApiError where one of them does not have it."""
    gossip = RawRequests("agent/keyring", client)
    gossip.ask("post", "install", json={"Key": key})
    count = gossip.ask("get", "list")["Keys"].get(key, 0)
    if count < servers:
        raise ApiError(
            f"Nomad: {count} of {servers} servers have the new gossip key: start the agents that do not run "
            "(systemctl start cloudmesh-nomad on their hosts), and run this again"
        )
    gossip.ask("post", "use", json={"Key": key})


def _is_valid(server: Connection, token: str) -> bool:
    with open_client(server, token) as client:
        try:
            call(client.acl.get_self_token)
        except ApiError as error:
            if "(HTTP 403)" not in str(error):
                raise
            return False
        return True
