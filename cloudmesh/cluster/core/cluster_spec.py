"""What a cluster is to be, before any host is touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

    While they are rotated, there are two generations of them: first the new ones wait beside those in force, as their
    successor, and then the old ones, as their predecessor, until no host goes by them any more.

    Attributes:
        authority: the cluster's certificate authority.
        engine: the engine's own, by name: tokens, keys, and the networks that were chosen for it.
        writers: the authority of those who may push to the registry; None in clusters of before there was one, where
            every certificate of the cluster may.
        rotation: the id of the rotation that has made them; empty: `create` has.
        kept_out: addresses of the hosts that were kept out of the cluster already when these secrets were made.
        first_key: the key of the authority that the cluster had first; empty: that of `authority`.
        successor: those that are to be in force; they have none of their own.
        predecessor: those that were in force.
        backup: which backup the cluster was restored from, by its digest; empty: it was created.
    """

    authority: certificates.KeyPair
    engine: Mapping[str, str] = field(repr=False)
    writers: certificates.KeyPair | None = None
    rotation: str = ""
    kept_out: tuple[str, ...] = ()
    first_key: bytes = field(default=b"", repr=False)
    successor: ClusterSecrets | None = None
    predecessor: ClusterSecrets | None = None
    backup: str = ""

    @property
    def networks(self) -> dict[str, str]:
        """The networks that the engine has made for itself among the hosts, as CIDR, by what they are for."""
        names = [name for name in self.engine if name.startswith(NETWORK)]
        return {name.removeprefix(NETWORK): self.engine[name] for name in names}

    @property
    def generations(self) -> tuple[ClusterSecrets, ...]:
        """Those that hosts may go by now: these, and the ones that they change over to or from."""
        return (self, *filter(None, (self.successor, self.predecessor)))

    @property
    def are_rotated(self) -> bool:
        """Whether they are being replaced: some hosts may go by others than these."""
        return len(self.generations) > 1

    @property
    def trusted(self) -> bytes:
        """The certificates of the authorities that hosts trust now, as PEM."""
        return b"".join(one.authority.certificate for one in self.generations)

    @property
    def trusted_writers(self) -> bytes:
        """The certificates of the authorities by which one may push to the registry now, as PEM; empty: any may."""
        return b"".join(one.writers.certificate for one in self.generations if one.writers)

    def trusted_by_engine(self, name: str) -> bytes:
        """Return the certificates that authorities of the engine's own have now, as PEM; `name` is that of `engine`."""
        return "".join(one.engine[name] for one in self.generations).encode()

    @property
    def digest_key(self) -> bytes:
        """The key of the digests of jobs' secrets. It stays, so that a job is known again that was submitted before."""
        return self.first_key or self.authority.key

    def dumps(self) -> bytes:
        """Return the content of the servers' secrets file."""
        return json.dumps(self._fields()).encode()

    def _fields(self) -> dict[str, object]:
        fields: dict[str, object] = {
            "ca": self.authority.certificate.decode(),
            "ca_key": self.authority.key.decode(),
            "engine": dict(self.engine),
        }
        if self.writers:
            fields |= {"writers": self.writers.certificate.decode(), "writers_key": self.writers.key.decode()}
        if self.rotation:
            fields |= {"rotation": self.rotation, "kept_out": list(self.kept_out), "first_key": self.first_key.decode()}
        if self.successor:
            fields["successor"] = self.successor._fields()
        if self.predecessor:
            fields["predecessor"] = self.predecessor._fields()
        if self.backup:
            fields["backup"] = self.backup
        return fields

    @classmethod
    def loads(cls, text: bytes) -> ClusterSecrets:
        """Return the secrets that `dumps` wrote."""
        return cls._parse(json.loads(text))

    @classmethod
    def _parse(cls, fields: Mapping[str, Any]) -> ClusterSecrets:
        authority = certificates.KeyPair(fields["ca"].encode(), fields["ca_key"].encode())
        writers = None
        if "writers" in fields:
            writers = certificates.KeyPair(fields["writers"].encode(), fields["writers_key"].encode())
        return cls(
            authority,
            fields["engine"],
            writers,
            fields.get("rotation", ""),
            tuple(fields.get("kept_out", ())),
            fields.get("first_key", "").encode(),
            cls._parse(fields["successor"]) if "successor" in fields else None,
            cls._parse(fields["predecessor"]) if "predecessor" in fields else None,
            fields.get("backup", ""),
        )


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster as it is to be.

    Attributes:
        cluster: its name.
        id: tells it from another of the same name.
        provider: "nomad", "kubernetes".
        servers: their addresses; each of them has a registry, with the same content.
        generation: how often the servers have changed.
        version: of the engine, as its hosts' markers have it; empty: an earlier version of this program wrote those.
    """

    cluster: str
    id: str
    provider: str
    servers: tuple[str, ...]
    secrets: ClusterSecrets
    generation: int = 0
    version: str = ""

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
