"""NomadProvider: how a host becomes part of a Nomad cluster."""

from __future__ import annotations

import json
import secrets as random
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.cluster_spec import REGISTRY_PORT, ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.model import Role
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.providers.base import Engine, Provider
from cloudmesh.cluster.providers.nomad import bootstrap
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


_MEMORY_MB, _DISK_MB = 1500, 6000
_GOSSIP_KEY_BYTES = 32


class NomadProvider(Provider):
    """Clusters of HashiCorp Nomad with its Docker driver and native service discovery."""

    kind = "nomad"
    endpoint = f"http://127.0.0.1:{bootstrap.HTTP_PORT}"

    def _needs(self) -> Needs:
        ports = (bootstrap.HTTP_PORT, bootstrap.RPC_PORT, bootstrap.SERF_PORT, REGISTRY_PORT)
        return Needs(ports=ports, memory_mb=_MEMORY_MB, disk_mb=_DISK_MB)

    def _script(self) -> str:
        return host_script.load("host/lib.sh", "host/clean.sh", "nomad/docker.sh", "nomad/build.sh")

    def _new_secrets(self) -> Mapping[str, str]:
        gossip = b64encode(random.token_bytes(_GOSSIP_KEY_BYTES)).decode()
        return {"token": str(uuid.UUID(bytes=random.token_bytes(16), version=4)), "gossip": gossip}

    def _certificate_names(self, role: Role) -> Sequence[str]:
        return ["server.global.nomad" if role is Role.SERVER else "client.global.nomad"]

    def _files(self, design: ClusterSpec, member: HostPlan) -> Mapping[str, bytes]:
        is_server = member.role is Role.SERVER
        agent = bootstrap.agent(name=str(member.host), address=member.facts.address, cluster=design.cluster)
        client = bootstrap.client(
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
            "etc/keep-output.sh": host_script.load("nomad/docker.sh", "nomad/keep-output.sh").encode(),
            "units/cloudmesh-nomad.service": host_script.load("nomad/cloudmesh-nomad.service").encode(),
            "units/cloudmesh-output.service": host_script.load("nomad/cloudmesh-output.service").encode(),
        }
        if is_server:
            gossip, token = design.secrets.engine["gossip"], design.secrets.engine["token"]
            files["nomad/server.json"] = _json(bootstrap.server(gossip_key=gossip, servers=design.servers))
            files["etc/acl-bootstrap.json"] = _json({"BootstrapSecret": token})
        return files

    def _api(self, server: Connection, secrets: ClusterSecrets) -> AbstractContextManager[Engine]:
        from cloudmesh.cluster.providers.nomad.api import open_engine

        return open_engine(server, secrets.engine["token"])


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=2).encode()
