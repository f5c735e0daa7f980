"""One run of `create` or `add`: what its phases share, and on which hosts each of them works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudmesh.cluster.binaries import BinaryBundle
from cloudmesh.cluster.core.cluster_spec import ClusterSpec, HostPlan
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import (
    ClusterError,
    HostError,
)
from cloudmesh.cluster.core.model import Facts, Host, Node, Role
from cloudmesh.cluster.images import delivery
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.providers.base import Delivery, Engine, Provider, Snapshot
from cloudmesh.cluster.providers.open_cluster import open_engine

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


@dataclass
class Installation:
    """One run of `create` or `add`.

    Attributes:
        context: the operator's side.
        provider: of the cluster's kind.
        cluster: the cluster's name.
        hosts: to become part of it, servers first.
        images: of our images, those that are delivered too.
        stack: releases connections and locks at the end.
        connections: to the hosts.
        facts: what each host says of itself.
        spec: what the cluster is to be.
        started: whether the cluster's engine was ever started; the first host that starts it makes the cluster.
        members: connections to other hosts of the cluster.
        other_servers: those of `members` that are servers.
        server: the connection to a server, one with an engine where there is one; it may be one of the hosts or not.
        pending: plans of the hosts that the engine does not call ready, or that lack something it needs.
        stale: nodes that the engine has of pending hosts which know nothing of that any more: they were wiped.
        delivery: what the registry has of the engine, once it is known.
        failures: what went wrong, by host; the other hosts go on.
        binaries_in_progress: the engine's binaries, being fetched or built here.
        images_in_progress: tags of the images, being built here.
        snapshot: the state with which the engine of the first server begins; None: it begins empty.
        barred: addresses of hosts that the servers of a cluster which begins so are to keep out.
    """

    context: Context
    provider: Provider
    cluster: str
    hosts: Sequence[Host]
    images: Sequence[str] = ()
    stack: ExitStack = field(default_factory=ExitStack)
    connections: dict[Host, Connection] = field(default_factory=dict)
    facts: Mapping[Host, Facts] = field(default_factory=dict)
    spec: ClusterSpec = field(init=False)
    server: Connection = field(init=False)
    started: bool = False
    members: Mapping[Host, Connection] = field(default_factory=dict)
    other_servers: Mapping[Host, Connection] = field(default_factory=dict)
    pending: Sequence[HostPlan] = ()
    stale: Sequence[Node] = ()
    delivery: Delivery | None = None
    failures: dict[str, ClusterError] = field(default_factory=dict)
    binaries_in_progress: Future[BinaryBundle] | None = None
    images_in_progress: Future[list[str]] | None = None
    snapshot: Snapshot | None = None
    barred: Sequence[str] = ()

    @property
    def first(self) -> list[HostPlan]:
        """The first server, if it has to make the cluster."""
        return [] if self.started else [host for host in self.pending if host.facts.address == self.spec.servers[0]]

    @property
    def server_plans(self) -> list[HostPlan]:
        """The pending servers."""
        return [host for host in self.pending if host.role is Role.SERVER]

    @property
    def others(self) -> list[HostPlan]:
        """The pending hosts that join, all but the one that makes the cluster."""
        return [host for host in self.pending if host not in self.first]

    def engine(self) -> AbstractContextManager[Engine]:
        """Open the engine's API for the length of a `with` block: of any server, once the first one is in place."""
        if self.first:
            return self.provider.open_engine(self.server, self.spec.secrets)
        return open_engine(self.provider, self.spec, self._servers, self.context.report)

    def registry(self) -> AbstractContextManager[Registry]:
        """Open the registry, on the first server on which it answers, for the length of a `with` block."""
        return delivery.open_registry(self.spec, self._servers, self.context.report)

    def _servers(self, _: ExitStack) -> Iterator[Connection]:
        """Yield the connections to servers that the run has."""
        yield self.server
        named = {host: self.connections[host] for host in self.facts if self.is_server(host)}
        yield from (server for server in {**self.other_servers, **named}.values() if server is not self.server)

    def fail(self, host: str, error: ClusterError) -> None:
        """Take down that a host failed."""
        self.context.report.failed(host, error.cause if isinstance(error, HostError) else str(error))
        self.failures[host] = error

    def is_server(self, host: Host) -> bool:
        """Return whether one of the hosts is to be a server."""
        return self.facts[host].address in self.spec.servers


# --- on which hosts --------------------------------------------------------------------------------------------------


def all_hosts(run: Installation) -> Sequence[Host]:
    """Return all hosts of the run."""
    return run.hosts


def pending_hosts(run: Installation) -> Sequence[Host]:
    """Return the hosts that the engine does not call ready."""
    return [host.host for host in run.pending]


def wiped_hosts(run: Installation) -> Sequence[Host]:
    """Return the hosts that have nothing of the engine any more, which still has them."""
    addresses = {node.address for node in run.stale}
    return [host.host for host in run.pending if host.facts.address in addresses]


def first_server(run: Installation) -> Sequence[Host]:
    """Return the first server, if it has to make the cluster."""
    return [host.host for host in run.first]


def pending_servers(run: Installation) -> Sequence[Host]:
    """Return the servers that the engine does not call ready."""
    return [host.host for host in run.server_plans]


def other_hosts(run: Installation) -> Sequence[Host]:
    """Return the pending hosts that join."""
    return [host.host for host in run.others]
