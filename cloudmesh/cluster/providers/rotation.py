"""EngineRotation, how an engine's own credentials are replaced while it runs; `lifecycle/rotate.py` says when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.model import Marker

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


class Stage(IntEnum):
    """How far a host has come.

    It trusts both generations, has certificates of the new one, has replaced what the engine made for tasks by the old
    one, and trusts the new one alone.
    """

    TRUST = 1
    CERTIFICATES = 2
    REFRESHED = 3
    DROPPED = 4

    def __str__(self) -> str:
        return self.name.lower()


class EngineRotation(ABC):
    """What a rotation does with an engine. Everything may be done again, and is then done already.

    Attributes:
        refreshes: whether the engine makes credentials for tasks, which are replaced once all servers make new ones.
    """

    refreshes: ClassVar[bool] = False

    def obstacle(self, secrets: ClusterSecrets) -> str:
        """Return why these secrets of a cluster cannot be replaced; empty: they can."""
        return ""

    @abstractmethod
    def files(self, spec: ClusterSpec, host: Marker, stage: Stage, now: float) -> Mapping[str, bytes]:
        """Return the engine's own inputs of the verb `rotate` of the host script.

        Args:
            spec: of the cluster, with its secrets of both generations; those in force are the old ones until all
                hosts have new certificates.
            host: what the host is.
            stage: that it is brought to.
            now: seconds since the epoch by the clock of the cluster's hosts.
        """

    @abstractmethod
    def adopt(self, server: Connection, spec: ClusterSpec) -> Mapping[str, str]:
        """Have the engine take the new secrets too; return them, as it may have chosen some itself.

        Args:
            server: through which it is asked.
            spec: of the cluster; the new secrets are the successor of those in force.

        Raises:
            ApiError: it does not answer, or a server of it is not there.
        """

    @abstractmethod
    def revoke(self, server: Connection, spec: ClusterSpec) -> None:
        """Have the engine take the old secrets no more, the predecessor of those in force.

        Raises:
            ApiError: it does not answer.
        """

    @abstractmethod
    def silent_nodes(self, server: Connection, spec: ClusterSpec) -> Mapping[str, str]:
        """Return the nodes that the engine does not reach by their new certificates, and why, by their addresses.

        Raises:
            ApiError: it does not answer.
        """
