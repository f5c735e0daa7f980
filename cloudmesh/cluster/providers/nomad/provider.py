"""NomadProvider: how a host becomes part of a Nomad cluster."""

from __future__ import annotations

import json
import secrets as random
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.cluster_spec import (
    REGISTRY_PORT,
    REGISTRY_WRITER_PORT,
    ClusterSecrets,
    ClusterSpec,
    HostPlan,
)
from cloudmesh.cluster.core.model import Role
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.providers.base import Delivery, Engine, Provider
from cloudmesh.cluster.providers.nomad import bootstrap
from cloudmesh.cluster.providers.rotation import EngineRotation
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


_MEMORY_MB, _DISK_MB = 1500, 6000
_GOSSIP_KEY_BYTES = 32
# As nomad/build.sh installs them.
_PACKAGES = ("ca-certificates", "curl", "docker.io", "iproute2", "iptables", "nftables", "docker-registry")


class NomadProvider(Provider):
    """Clusters of HashiCorp Nomad with its Docker driver and native service discovery."""

    kind = "nomad"
    endpoint = f"http://127.0.0.1:{bootstrap.HTTP_PORT}"

    def needs(self) -> Needs:
        """Return the ports, memory, disk and packages that a host must have."""
        ports = (bootstrap.HTTP_PORT, bootstrap.RPC_PORT, bootstrap.SERF_PORT, REGISTRY_PORT, REGISTRY_WRITER_PORT)
        return Needs(ports=ports, memory_mb=_MEMORY_MB, disk_mb=_DISK_MB, packages=_PACKAGES)

    def host_script(self) -> str:
        """Return the script that makes a host part of the cluster, and cleans it."""
        return host_script.load("host/lib.sh", "host/clean.sh", "nomad/docker.sh", "nomad/build.sh")

    def new_secrets(self) -> Mapping[str, str]:
        """Return the management token and the gossip key."""
        gossip = b64encode(random.token_bytes(_GOSSIP_KEY_BYTES)).decode()
        return {"token": str(uuid.UUID(bytes=random.token_bytes(16), version=4)), "gossip": gossip}

    def certificate_names(self, role: Role) -> Sequence[str]:
        """Return the name by which Nomad verifies a server or a client."""
        return ["server.global.nomad" if role is Role.SERVER else "client.global.nomad"]

    def host_files(self, spec: ClusterSpec, plan: HostPlan, delivery: Delivery) -> Mapping[str, bytes]:
        """Return the agent's configuration, the units, and on servers the secrets of gossip and access control."""
        is_server = plan.role is Role.SERVER
        agent = bootstrap.agent(name=plan.node, address=plan.facts.address, cluster=spec.cluster)
        client = bootstrap.client(
            cores=plan.facts.cores,
            interface=plan.interface,
            takes_jobs=plan.takes_jobs,
            is_server=is_server,
            meta={
                "cms_host": str(plan.host),
                "cms_contact": plan.contact,
                "cms_host_key": plan.host_key,
                "cms_role": str(plan.role),
            },
        )
        files = {
            "nomad/agent.json": _json(agent),
            "nomad/client.json": _json(client),
            **self.server_list_files(spec, plan.role),
            "etc/keep-output.sh": host_script.load("nomad/docker.sh", "nomad/keep-output.sh").encode(),
            "etc/booted.sh": host_script.load("nomad/booted.sh").encode(),
            "etc/shorten-log.pl": host_script.load("host/shorten-log.pl").encode(),
            "units/cloudmesh-nomad.service": host_script.load("nomad/cloudmesh-nomad.service").encode(),
            "units/cloudmesh-output.service": host_script.load("nomad/cloudmesh-output.service").encode(),
        }
        if is_server:
            files |= {name: _json(fields) for name, fields in bootstrap.secret_files(spec.secrets.engine).items()}
            files["restore.sh"] = host_script.load("nomad/restore.sh").encode()
            files["etc/jobs.sh"] = host_script.load("nomad/jobs.sh").encode()
        return files

    def server_list_files(self, spec: ClusterSpec, role: Role) -> Mapping[str, bytes]:
        """Return the part of the agent's configuration that names the servers."""
        return {"nomad/servers.json": _json(bootstrap.server_list(spec.servers, is_server=role is Role.SERVER))}

    def open_engine(self, server: Connection, secrets: ClusterSecrets) -> AbstractContextManager[Engine]:
        """Open the engine's API through a server's connection."""
        from cloudmesh.cluster.providers.nomad import api

        return api.open_engine(server, secrets.engine["token"])

    def rotation(self) -> EngineRotation:
        """Return how the gossip key, the management token and the keyring are replaced."""
        from cloudmesh.cluster.providers.nomad.rotation import NomadRotation

        return NomadRotation()


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=2).encode()
