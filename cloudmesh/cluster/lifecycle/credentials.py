"""What lets hosts into a cluster, and into its registry: authorities, and the certificates that these sign."""

from __future__ import annotations

import secrets as random
from collections.abc import Collection, Mapping, Sequence

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import NETWORK, ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Marker, Role


def new_writers(cluster: str, now: float | None = None) -> certificates.KeyPair:
    """Return a new authority of those who may push to the registry; `now` is as `certificates.issue` has it."""
    return certificates.new_authority(f"{cluster}/push", now=now)  # a common name has 64 characters at most


def ensure_one_generation(spec: ClusterSpec) -> None:
    """Raise ClusterError where the cluster's secrets are being rotated: a host would get half of them."""
    if spec.secrets.are_rotated:
        raise ClusterError(
            f"the secrets of cluster {spec.cluster} are being rotated, and nothing was changed: finish that by "
            f"`cms cluster rotate -n {spec.cluster}`, and run this again"
        )


def next_generation(
    spec: ClusterSpec, engine: Mapping[str, str], kept_out: Collection[str], now: float
) -> ClusterSecrets:
    """Return new secrets for a cluster; what is no secret, such as its networks, stays.

    Args:
        spec: of the cluster, with those that it has.
        engine: the engine's new ones.
        kept_out: addresses of the hosts that are kept out of it.
        now: seconds since the epoch by the clock of its hosts.
    """
    present = spec.secrets
    networks = {name: value for name, value in present.engine.items() if name.startswith(NETWORK)}
    return ClusterSecrets(
        certificates.new_authority(spec.cluster, now=now),
        {**engine, **networks},
        new_writers(spec.cluster, now) if present.writers else None,
        rotation=random.token_hex(6),
        kept_out=tuple(sorted(kept_out)),
        first_key=present.digest_key,
    )


def trust_files(secrets: ClusterSecrets, role: Role) -> dict[str, bytes]:
    """Return the authorities that a host with `role` trusts: the cluster's, and on servers the registry's writers'."""
    writers = {"etc/writers.pem": secrets.trusted_writers} if role is Role.SERVER and secrets.writers else {}
    return {"etc/ca.pem": secrets.trusted, **writers}


def certificate_files(
    authority: certificates.KeyPair, host: Marker, names: Sequence[str], now: float | None = None
) -> dict[str, bytes]:
    """Return a new certificate of a host, and its key.

    Args:
        authority: that signs it.
        host: what the host is.
        names: DNS names that the engine wants in it.
        now: as `certificates.issue` has it.
    """
    all_names = [*names, "localhost"] + [certificates.REGISTRY_NAME] * (host.role is Role.SERVER)
    pair = certificates.issue(authority, host.node or host.address, all_names, [host.address, "127.0.0.1"], now=now)
    return {"etc/host.pem": pair.certificate, "etc/host-key.pem": pair.key}
