"""What a cluster is to be, before any host is touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Facts, Host, Role

REGISTRY_PORT = 5443
# On each server's loopback, for those whose certificate is of the writers' authority.
REGISTRY_WRITER_PORT = 5444
SERVER_COUNTS = (1, 3, 5)
# Begins the names of those of an engine's own values that are networks.
NETWORK = "network "


@dataclass(frozen=True)
class ClusterSecrets:
    """What only the servers' root and the operator's memory hold.

    Attributes:
        authority: the cluster's certificate authority.
        engine: the engine's own, by name: tokens, keys, and the networks that were chosen for it.
        writers: the authority of those who may push to the registry; None in clusters of before there was one, where
            every certificate of the cluster may.
    """

    authority: certificates.KeyPair
    engine: Mapping[str, str] = field(repr=False)
    writers: certificates.KeyPair | None = None

    @property
    def networks(self) -> dict[str, str]:
        """The networks that the engine has made for itself among the hosts, as CIDR, by what they are for."""
        names = [name for name in self.engine if name.startswith(NETWORK)]
        return {name.removeprefix(NETWORK): self.engine[name] for name in names}

    def dumps(self) -> bytes:
        """Return the content of the servers' secrets file."""
        fields: dict[str, object] = {
            "ca": self.authority.certificate.decode(),
            "ca_key": self.authority.key.decode(),
            "engine": dict(self.engine),
        }
        if self.writers:
            fields |= {"writers": self.writers.certificate.decode(), "writers_key": self.writers.key.decode()}
        return json.dumps(fields).encode()

    @classmethod
    def loads(cls, text: bytes) -> ClusterSecrets:
        """Return the secrets that `dumps` wrote."""
        fields = json.loads(text)
        authority = certificates.KeyPair(fields["ca"].encode(), fields["ca_key"].encode())
        writers = None
        if "writers" in fields:
            writers = certificates.KeyPair(fields["writers"].encode(), fields["writers_key"].encode())
        return cls(authority, fields["engine"], writers)


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster as it is to be.

    Attributes:
        cluster: its name.
        id: tells it from another of the same name.
        provider: "nomad", "kubernetes".
        servers: their addresses; each of them has a registry, with the same content.
        generation: how often the servers have changed.
    """

    cluster: str
    id: str
    provider: str
    servers: tuple[str, ...]
    secrets: ClusterSecrets
    generation: int = 0

    @property
    def registry(self) -> str:
        """Where the hosts find the cluster's registry, "NAME:PORT": their /etc/hosts gives the name to every server."""
        return f"{certificates.REGISTRY_NAME}:{REGISTRY_PORT}"


@dataclass(frozen=True)
class HostPlan:
    """A host as it is to be in a cluster.

    Attributes:
        takes_jobs: a server of a cluster with workers takes none.
        contact: how the operator reaches it, "user@host:port".
        host_key: its SSH host key.
        node: its name as a node of the engine; empty until `lifecycle/node_names.py` has chosen it.
    """

    host: Host
    facts: Facts
    role: Role
    takes_jobs: bool
    contact: str
    host_key: str
    node: str = ""

    @property
    def interface(self) -> str:
        """The network device that has its address."""
        for line in self.facts.addresses:
            device, _, address = line.partition(" ")
            if address.partition("/")[0] == self.facts.address:
                return device
        return ""


def check_server_count(servers: int, hosts: int) -> None:
    """Raise UsageError where `hosts` hosts cannot have `servers` servers."""
    if servers not in SERVER_COUNTS:
        raise UsageError(f"--servers={servers} is not valid: use 1, 3 or 5, so that a majority is always clear")
    if servers > hosts:
        raise UsageError(f"--servers={servers} needs as many hosts: {hosts} given")
