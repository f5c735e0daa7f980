"""What a cluster is to be, before any host is touched, and the files that make a host part of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloudmesh.cluster import pki
from cloudmesh.cluster.errors import UsageError
from cloudmesh.cluster.hosts import marker, script
from cloudmesh.cluster.model import Facts, Host, Marker, Role

REGISTRY_PORT = 5443
SERVER_COUNTS = (1, 3, 5)
_CONFIG = "/etc/cloudmesh/cluster"
_REGISTRY_DATA = "/var/lib/cloudmesh/registry"


@dataclass(frozen=True)
class Secrets:
    """What only the servers' root and the operator's memory hold.

    Attributes:
        authority: the cluster's certificate authority.
        engine: the engine's own, by name: tokens, keys.
    """

    authority: pki.KeyPair
    engine: Mapping[str, str] = field(repr=False)

    def dumps(self) -> bytes:
        """Return the content of the servers' secrets file."""
        fields = {
            "ca": self.authority.certificate.decode(),
            "ca_key": self.authority.key.decode(),
            "engine": dict(self.engine),
        }
        return json.dumps(fields).encode()

    @classmethod
    def loads(cls, text: bytes) -> Secrets:
        """Return the secrets that `dumps` wrote."""
        fields = json.loads(text)
        return cls(pki.KeyPair(fields["ca"].encode(), fields["ca_key"].encode()), fields["engine"])


@dataclass(frozen=True)
class Blueprint:
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
    secrets: Secrets

    @property
    def registry(self) -> str:
        """Where the hosts find the cluster's registry: "ADDRESS:PORT"."""
        return f"{self.servers[0]}:{REGISTRY_PORT}"


@dataclass(frozen=True)
class Member:
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


def check_servers(servers: int, hosts: int) -> None:
    """Raise UsageError where `hosts` hosts cannot have `servers` servers."""
    if servers not in SERVER_COUNTS:
        raise UsageError(f"--servers={servers} is not valid: use 1, 3 or 5, so that a majority is always clear")
    if servers > hosts:
        raise UsageError(f"--servers={servers} needs as many hosts: {hosts} given")


def files(blueprint: Blueprint, member: Member, names: Sequence[str]) -> dict[str, bytes]:
    """Return what every engine's hosts get: marker, certificates, the registry's address; secrets only on servers.

    Args:
        names: DNS names that the engine wants in the host's certificate.
    """
    address = member.facts.address
    first = address == blueprint.servers[0]
    authority = blueprint.secrets.authority
    all_names = [*names, "localhost"] + [pki.REGISTRY_NAME] * first
    certificate = pki.issue(authority, str(member.host), all_names, [address, "127.0.0.1"])
    its_marker = Marker(blueprint.cluster, blueprint.id, blueprint.provider, member.role, address, blueprint.servers)
    found = {
        "address": address.encode(),
        "registry": blueprint.registry.encode(),
        "etc/marker.json": marker.dumps(its_marker),
        "etc/ca.pem": authority.certificate,
        "etc/host.pem": certificate.certificate,
        "etc/host-key.pem": certificate.key,
    }
    if member.role is Role.SERVER:
        found["etc/secrets.json"] = blueprint.secrets.dumps()
    if first:
        found["registry_host"] = b""
        found["etc/registry.yml"] = json.dumps(_registry(blueprint.registry), indent=2).encode()
        found["units/cloudmesh-registry.service"] = script.load("host/cloudmesh-registry.service").encode()
    return found


def _registry(address: str) -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": _REGISTRY_DATA},
            "delete": {"enabled": True},
            # What a push that was cut off has left; on a full disk that room is needed.
            "maintenance": {"uploadpurging": {"enabled": True, "age": "2h", "interval": "1h", "dryrun": False}},
        },
        "http": {
            "addr": address,
            "relativeurls": True,
            "tls": {
                "certificate": f"{_CONFIG}/host.pem",
                "key": f"{_CONFIG}/host-key.pem",
                "clientcas": [f"{_CONFIG}/ca.pem"],
            },
        },
    }
