"""NomadProvider: how a host becomes part of a Nomad cluster."""

from __future__ import annotations

import json
import secrets
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cloudmesh.cluster.api import Api
from cloudmesh.cluster.blueprint import REGISTRY_PORT, Blueprint, Member, Secrets
from cloudmesh.cluster.hosts import script
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.model import Role
from cloudmesh.cluster.nomad import config
from cloudmesh.cluster.provider import Provider

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection

_MEMORY_MB, _DISK_MB = 1500, 6000
_GOSSIP_KEY_BYTES = 32


class NomadProvider(Provider):
    """Clusters of HashiCorp Nomad with its Docker driver and native service discovery."""

    kind = "nomad"
    endpoint = f"http://127.0.0.1:{config.HTTP_PORT}"

    def _needs(self) -> Needs:
        ports = (config.HTTP_PORT, config.RPC_PORT, config.SERF_PORT, REGISTRY_PORT)
        return Needs(ports=ports, memory_mb=_MEMORY_MB, disk_mb=_DISK_MB)

    def _script(self) -> str:
        return script.load("host/lib.sh", "host/clean.sh", "nomad/docker.sh", "nomad/build.sh")

    def _new_secrets(self) -> Mapping[str, str]:
        gossip = b64encode(secrets.token_bytes(_GOSSIP_KEY_BYTES)).decode()
        return {"token": str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)), "gossip": gossip}

    def _certificate_names(self, role: Role) -> Sequence[str]:
        return ["server.global.nomad" if role is Role.SERVER else "client.global.nomad"]

    def _files(self, design: Blueprint, member: Member) -> Mapping[str, bytes]:
        is_server = member.role is Role.SERVER
        agent = config.agent(name=str(member.host), address=member.facts.address, cluster=design.cluster)
        client = config.client(
            cores=member.facts.cores,
            servers=design.servers,
            interface=member.interface,
            takes_jobs=member.takes_jobs,
            is_server=is_server,
            meta={"cms_contact": member.contact, "cms_host_key": member.host_key, "cms_role": str(member.role)},
        )
        files = {
            "nomad/agent.json": _json(agent),
            "nomad/client.json": _json(client),
            "etc/keep-output.sh": script.load("nomad/docker.sh", "nomad/keep-output.sh").encode(),
            "units/cloudmesh-nomad.service": script.load("nomad/cloudmesh-nomad.service").encode(),
            "units/cloudmesh-output.service": script.load("nomad/cloudmesh-output.service").encode(),
        }
        if is_server:
            gossip, token = design.secrets.engine["gossip"], design.secrets.engine["token"]
            files["nomad/server.json"] = _json(config.server(gossip_key=gossip, servers=design.servers))
            files["etc/acl-bootstrap.json"] = _json({"BootstrapSecret": token})
        return files

    def _api(self, server: Connection, secrets: Secrets) -> AbstractContextManager[Api]:
        from cloudmesh.cluster.nomad.api import connected

        return connected(server, secrets.engine["token"])


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=2).encode()
