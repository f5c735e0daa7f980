"""Provider: what a cluster can do. The policy is here, once; how an engine does it is in its own package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cloudmesh.cluster import assembly, blueprint, delivery, names, places, removal, results
from cloudmesh.cluster.api import Api
from cloudmesh.cluster.assembly import Assembly
from cloudmesh.cluster.blueprint import Blueprint, Member, Secrets
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ApiError, ClusterError, UsageError
from cloudmesh.cluster.finder import Membership
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.installation import Installation
from cloudmesh.cluster.model import Cluster, Host, Node, Role
from cloudmesh.cluster.places import Places
from cloudmesh.cluster.results import Fetched
from cloudmesh.cluster.workload import Workload

if TYPE_CHECKING:
    from cloudmesh.cluster.engines import Bundle
    from cloudmesh.cluster.hosts.ssh import Connection
    from cloudmesh.cluster.images.registry import Registry


class Provider(ABC):
    """A kind of cluster, and the few things in which one engine differs from another.

    Args:
        context: the operator's side.

    Attributes:
        kind: its name, as `-p` and the markers have it.
        endpoint: where the API listens, as seen on a server itself.
    """

    kind: ClassVar[str]
    endpoint: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context

    # --- policy -----------------------------------------------------------------------------------------------------

    def create(
        self, cluster: str, hosts: Sequence[Host], *, servers: int = 1, images: Sequence[str] = (), dryrun: bool = False
    ) -> Cluster:
        """Make a cluster of `hosts`, or finish one that was begun; what is healthy is left alone.

        Args:
            cluster: its name.
            hosts: servers first.
            servers: 1, 3 or 5.
            images: of ours, built and delivered along the way.
            dryrun: look at the hosts and tell what would be done; change nothing.

        Raises:
            UsageError: a bad name or number; nothing was done.
            LockedError: another operator is at it.
            HostsError: hosts that failed, each with its cause; the others are in.
        """
        names.check(cluster, "cluster name")
        blueprint.check_servers(servers, len(hosts))
        with assembly.assembled(self.context, cluster, hosts, self._needs().ports) as gathered:
            design = assembly.design(gathered, cluster, self.kind, servers, self._new_secrets)
            assembly.check(gathered, self._needs(), design)
            assembly.refuse_namesake(self.context, design)
            server = gathered.connections[gathered.host_at(design.servers[0])]
            pending = self._pending(assembly.members(gathered, design), server, design)
            if dryrun:
                return self._dry(design, pending, images)
            if not pending:
                self.context.report.note(f"cluster {cluster}: all hosts are in and healthy, nothing to do")
            leads = any(member.facts.address == design.servers[0] for member in pending)
            digests = {} if leads or not pending else assembly.read_engine(server)
            self._installation(design, gathered, server, digests).run(pending, images)
            self._equip(design, gathered, server)
            return self._described(design, server)

    def add(self, membership: Membership, hosts: Sequence[Host]) -> Cluster:
        """Let `hosts` join as workers; jobs keep running.

        Raises:
            LockedError: another operator is at it.
            HostsError: hosts that failed, each with its cause; the others are in.
        """
        server = membership.first_server()
        design = self._read(membership, server)
        with assembly.assembled(self.context, design.cluster, hosts, self._needs().ports, [server]) as gathered:
            assembly.check(gathered, self._needs(), design)
            members = assembly.members(gathered, design, joined=len(design.servers))
            pending = self._pending(members, server, design)
            if not pending:
                self.context.report.note(f"cluster {design.cluster}: these hosts are in and healthy, nothing to do")
            digests = assembly.read_engine(server) if pending else {}
            self._installation(design, gathered, server, digests).run(pending)
            self._equip(design, gathered, server)
            return self._described(design, server)

    def remove(self, membership: Membership, hosts: Sequence[Host], *, force: bool = False) -> None:
        """Take `hosts` out: jobs are moved away, the engine forgets them, and they are left clean.

        Args:
            membership: the cluster.
            hosts: of it.
            force: go on where jobs cannot be moved away.

        Raises:
            NotFoundError: a host is not of this cluster.
            UsageError: a host is a server.
            HostsError: hosts that were not cleaned, each with its cause; the engine has forgotten them all the same.
        """
        server = membership.first_server()
        design = self._read(membership, server)
        with self._api(server, design.secrets) as api:
            removal.remove(self.context, membership, api, hosts, self._script(), force=force)

    def kill(self, membership: Membership, *, force: bool = False) -> None:
        """Take the cluster apart: jobs, agents, packages and files of ours go, on every host.

        Args:
            membership: the cluster.
            force: hosts that cannot be reached are no failure.

        Raises:
            HostsError: hosts that were not cleaned, each with its cause.
        """
        removal.kill(self.context, membership, self._nodes_or_none(membership), self._script(), force=force)

    def info(self, membership: Membership) -> Cluster:
        """Return the cluster as its engine tells it; where the engine is silent, as its hosts do."""
        server = membership.first_server()
        design = self._read(membership, server)
        return self._described(design, server, membership)

    def workload(self, membership: Membership) -> Workload:
        """Return the cluster's jobs."""
        server = membership.first_server()
        design = self._read(membership, server)
        return Workload(self.context, design, server, partial(self._api, server, design.secrets))

    def places(self, membership: Membership) -> Places:
        """Return the cluster's places for data."""
        server = membership.first_server()
        design = self._read(membership, server)
        return Places(self.context, membership, partial(self._api, server, design.secrets))

    def results(self, membership: Membership, job_id: str, target: Path) -> Fetched:
        """Bring what a job's tasks have left into the folder `target`; see `results.fetch`."""
        server = membership.first_server()
        design = self._read(membership, server)
        with self._api(server, design.secrets) as api:
            found = api.results(job_id)
        return results.fetch(self.context, membership, found, target)

    def kubeconfig(self, membership: Membership) -> bytes:
        """Return the file by which kubectl reaches the cluster, an administrator's key in it.

        Raises:
            UsageError: the engine is another.
        """
        design = self._read(membership, membership.first_server())
        return self._kubeconfig(design)

    # --- mechanism --------------------------------------------------------------------------------------------------

    @abstractmethod
    def _needs(self) -> Needs:
        """Return what a host must have."""

    @abstractmethod
    def _script(self) -> str:
        """Return the host script; it knows the verbs prepare, registry, bootstrap, join and clean."""

    @abstractmethod
    def _new_secrets(self) -> Mapping[str, str]:
        """Return the engine's own secrets for a new cluster."""

    @abstractmethod
    def _certificate_names(self, role: Role) -> Sequence[str]:
        """Return the DNS names that the engine wants in the certificate of a host with `role`."""

    @abstractmethod
    def _files(self, design: Blueprint, member: Member) -> Mapping[str, bytes]:
        """Return the engine's configuration of a host, as inputs of the host script."""

    @abstractmethod
    def _api(self, server: Connection, secrets: Secrets) -> AbstractContextManager[Api]:
        """Open the engine's API through a server's connection."""

    def _deliver(self, design: Blueprint, server: Connection, registry: Registry, bundle: Bundle) -> Mapping[str, str]:
        """Send the engine to the cluster's registry; return the SHA-256 of each file that hosts fetch, by its name."""
        return delivery.deliver_engine(registry, bundle, self.context.report)

    def _kubeconfig(self, design: Blueprint) -> bytes:
        raise UsageError(f"cluster {design.cluster} is of {self.kind}: only Kubernetes has a kubeconfig")

    @contextmanager
    def _invited(self, design: Blueprint, server: Connection) -> Iterator[Mapping[str, bytes]]:
        """Yield what hosts need to be let in, beside their files; it is worth nothing afterwards."""
        yield {}

    # --- shared by the verbs ----------------------------------------------------------------------------------------

    def _read(self, membership: Membership, server: Connection) -> Blueprint:
        """Return the blueprint of a cluster that exists, as its server holds it."""
        its = membership.any
        secrets = assembly.read_secrets(server)
        if secrets is None:
            raise ClusterError(f"cluster {its.cluster} was not finished: run its create again, or kill it")
        return Blueprint(its.cluster, its.id, its.provider, its.servers, secrets)

    def _installation(
        self, design: Blueprint, gathered: Assembly, server: Connection, digests: Mapping[str, str]
    ) -> Installation:
        return Installation(
            context=self.context,
            blueprint=design,
            connections=gathered.connections,
            server=server,
            script=self._script(),
            files=partial(self._all_files, design),
            api=partial(self._api, server, design.secrets),
            deliver=partial(self._deliver, design, server),
            invited=partial(self._invited, design, server),
            digests=digests,
        )

    def _equip(self, design: Blueprint, gathered: Assembly, server: Connection) -> None:
        """Bring the cluster's places for data to its hosts, also to those that had joined when they were cut off."""
        with self._api(server, design.secrets) as api:
            places.equip(api, gathered.connections, self.context)

    def _all_files(self, design: Blueprint, member: Member) -> Mapping[str, bytes]:
        common = blueprint.files(design, member, self._certificate_names(member.role))
        return {**common, **self._files(design, member)}

    def _pending(self, members: Sequence[Member], server: Connection, design: Blueprint) -> list[Member]:
        """Return the members that the engine does not call ready."""
        if not any(member.facts.marker for member in members) and design.servers[0] in {
            m.facts.address for m in members
        }:
            return list(members)
        try:
            with self._api(server, design.secrets) as api:
                ready = {node.address for node in api.nodes() if node.status == "ready"}
        except ApiError:
            ready = set()
        return [member for member in members if member.facts.address not in ready]

    def _dry(self, design: Blueprint, pending: Sequence[Member], images: Sequence[str]) -> Cluster:
        for member in pending:
            steps = (
                "prepare, registry, bootstrap, join" if member.facts.address == design.servers[0] else "prepare, join"
            )
            self.context.report.note(f"{member.host}: would {steps} as {member.role} at {member.facts.address}")
        for image in images:
            self.context.report.note(f"{image}: would be built and delivered")
        return Cluster(design.cluster, design.id, self.kind, "", design.registry)

    def _described(self, design: Blueprint, server: Connection, membership: Membership | None = None) -> Cluster:
        try:
            with self._api(server, design.secrets) as api:
                nodes = api.nodes()
        except ApiError as error:
            self.context.report.note(f"the engine does not answer: {error}")
            nodes = membership.as_nodes() if membership else ()
        healthy = bool(nodes) and all(node.status == "ready" for node in nodes)
        where = f"{self.endpoint} on {design.servers[0]}, through SSH"
        return Cluster(design.cluster, design.id, self.kind, where, design.registry, nodes, healthy)

    def _nodes_or_none(self, membership: Membership) -> tuple[Node, ...]:
        try:
            server = membership.first_server()
            design = self._read(membership, server)
            with self._api(server, design.secrets) as api:
                return api.nodes()
        except ClusterError as error:
            self.context.report.note(f"only the hosts that were found are cleaned: {error}")
            return ()
