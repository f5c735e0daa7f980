"""`cms cluster`: Nomad and Kubernetes clusters, and Spark jobs on them, from a list of SSH hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import (
    ApiError,
    AuthenticationError,
    BinaryError,
    ClusterError,
    HostError,
    HostKeyError,
    HostsError,
    HostTimeoutError,
    ImageError,
    InUseError,
    LockedError,
    NotFoundError,
    UnknownOutcomeError,
    UnreachableError,
    UsageError,
)

if TYPE_CHECKING:
    from cloudmesh.cluster.cluster import Cluster, Job

__version__ = "0.1.0"
__all__ = [
    "ApiError",
    "AuthenticationError",
    "BinaryError",
    "Cluster",
    "ClusterError",
    "HostError",
    "HostKeyError",
    "HostTimeoutError",
    "HostsError",
    "ImageError",
    "InUseError",
    "Job",
    "LockedError",
    "NotFoundError",
    "UnknownOutcomeError",
    "UnreachableError",
    "UsageError",
]


def __getattr__(name: str) -> Any:
    """Import the API when it is asked for: `cms` imports this package at every start."""
    if name in ("Cluster", "Job"):
        from cloudmesh.cluster import cluster

        return getattr(cluster, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
