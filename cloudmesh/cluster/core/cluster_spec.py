"""What a cluster is to be, before any host is touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Facts, Host, Role

REGISTRY_PORT = 5443
SERVER_COUNTS = (1, 3, 5)
# Begins the names of those of an engine's own values that are networks.
NETWORK = "network "


@dataclass(frozen=True)
class ClusterSecrets:
    """What only the servers' root and the operator's memory hold.

    Attributes:
        authority: the cluster's certificate authority.
        engine: the engine's own, by name: tokens, keys, and the networks that were chosen for it.
    """

    authority: certificates.KeyPair
    engine: Mapping[str, str] = field(repr=False)

    @property
    def networks(self) -> dict[str, str]:
        """The networks that the engine has made for itself among the hosts, as CIDR, by what they are for."""
        names = [name for name in self.engine if name.startswith(NETWORK)]
        return {name.removeprefix(NETWORK): self.engine[name] for name in names}

    def dumps(self) -> bytes:
        """Return the content of the servers' secrets file."""
        fields = {
            "ca": self.authority.certificate.decode(),
            "ca_key": self.authority.key.decode(),
            "engine": dict(self.engine),
        }
        return json.dumps(fields).encode()

    @classmethod
    def loads(cls, text: bytes) -> ClusterSecrets:
        """Return the secrets that `dumps` wrote."""
        fields = json.loads(text)
        return cls(certificates.KeyPair(fields["ca"].encode(), fields["ca_key"].encode()), fields["engine"])


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster as it is to be.

    Attributes:
        cluster: its name.
        id: tells it from another of the same name.
        provider: "nomad", "kubernetes".
        servers: their addresses; the first one also holds the registry.
    """

    cluster: str
    id: str
    provider: str
    servers: tuple[str, ...]
    secrets: ClusterSecrets

    @property
    def registry(self) -> str:
        """Where the hosts find the cluster's registry: "ADDRESS:PORT"."""
        return f"{self.servers[0]}:{REGISTRY_PORT}"


@dataclass(frozen=True)
class HostPlan:
    """A host as it is to be in a cluster.

    Attributes:
        takes_jobs: a server of a cluster with workers takes none.
        contact: how the operator reaches it, "user@host:port".
        host_key: its SSH host key.
    """

    host: Host
    facts: Facts
    role: Role
    takes_jobs: bool
    contact: str
    host_key: str

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
