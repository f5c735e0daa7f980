"""Provider, what differs between engines, and Engine, what a cluster's orchestrator can be asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeGuard, TypeVar

from cloudmesh.cluster.binaries import BinaryBundle
from cloudmesh.cluster.core import cluster_spec, names
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, ClusterError, UsageError
from cloudmesh.cluster.core.model import ClusterInfo, Host, JobStatus, Node, Role, Volume
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.jobs import results
from cloudmesh.cluster.jobs.results import CopySummary
from cloudmesh.cluster.jobs.service import JobService
from cloudmesh.cluster.lifecycle import planning, removal
from cloudmesh.cluster.lifecycle.installation import Installation
from cloudmesh.cluster.lifecycle.planning import LockedHosts
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob
from cloudmesh.cluster.spec.spark import SparkJob
from cloudmesh.cluster.storage import service
from cloudmesh.cluster.storage.service import VolumeService

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


AnyJob_co = TypeVar("AnyJob_co", bound=JobSpec, covariant=True)


class Chunk(NamedTuple):
    """A piece of a job's output: `stream` is "stdout" or "stderr"."""

    stream: str
    data: bytes


class Mount(NamedTuple):
    """A place with a directory on the hosts, as the tasks of a job see it.

    Attributes:
        place: its name.
        mount: where it is in the tasks.
        read_only: whether they may only read.
    """

    place: str
    mount: str
    read_only: bool = False


@dataclass(frozen=True)
class Submission(Generic[AnyJob_co]):
    """A job, ready to go to the engine.

    Attributes:
        id: of the job, checked.
        job: as it was resolved.
        image: that its tasks run, by the name the hosts pull it by.
        digest: of the job and its files; the same id with another digest is another job.
        volumes: what its tasks find mounted.
        secrets: environment variables that are kept as the engine keeps secrets, and go with the job.
        hosts: engine's names of the hosts that are given to a job whose tasks are bound to hosts.
    """

    id: str
    job: AnyJob_co
    image: str
    digest: str
    volumes: tuple[Mount, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    hosts: tuple[str, ...] = ()


def is_spark(submission: Submission[JobSpec]) -> TypeGuard[Submission[SparkJob]]:
    """Return whether the job is Spark's; any other is what `jobs.layout` makes of it."""
    return isinstance(submission.job, SparkJob)


class ResultLocation(NamedTuple):
    """Where one task of a job has left its results.

    Attributes:
        task: its name. Empty: the engine knows no more of them, and any task may have left some there.
        node: the host.
        path: the directory there; without a name of the task, one that has theirs as TASK/ATTEMPT.
    """

    task: str
    node: Node
    path: str


class NativeSubmission(NamedTuple):
    """What an engine has taken of a job in its own language.

    Attributes:
        name: as the engine's own tools call it.
        job_id: to follow it by; empty where it has no end to wait for.
    """

    name: str
    job_id: str = ""


class Engine(Protocol):
    """The orchestrator of one cluster. Every method may raise ApiError; those about a job, NotFoundError.

    Attributes:
        spark_overhead_mb: MiB that it runs beside a Spark job's driver, and beside each executor.
    """

    spark_overhead_mb: int

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that the engine knows."""

    def drain(self, node: Node, seconds: float) -> None:
        """Move the jobs away from `node` and send it no more; ApiError where that takes longer than `seconds`."""

    def remove_node(self, node: Node) -> None:
        """Strike `node` off the engine's list."""

    def specification(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        """Return the job as the engine would get it. Pure."""

    def submit(self, submission: Submission[JobSpec]) -> None:
        """Run the job once, though the request be made twice; ClusterError where another job has its id."""

    def run_native(self, job: NativeJob) -> Iterator[NativeSubmission]:
        """Hand a job in the engine's own language over as it is, part by part; UsageError where it is malformed."""

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return what `run_native` would make, as the engine says itself; nothing is changed."""

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that the engine still knows, the newest first."""

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""

    def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        """Yield the output of the driver, or of a native job's tasks; with `follow`, until it ends."""

    def stop(self, job_id: str) -> None:
        """End the job and all its tasks; of one that has ended, whatever is left."""

    def results(self, job_id: str) -> tuple[ResultLocation, ...]:
        """Return where the tasks of a job, ended or not, have left what they wrote to $CMS_RESULTS."""

    def address(self, job_id: str, port: str) -> str:
        """Return "HOST:PORT" by which tasks of other jobs reach the port called `port` of a job's first task."""

    def secret(self, job_id: str) -> str:
        """Return the secret that only the tasks of a job have, see CMS_SECRET_FILE in `jobs.layout`."""

    def purge_expired(self) -> None:
        """Forget the jobs that ended longer ago than their time to live, with all that is theirs.

        A job that can never begin, as there is no such image, is ended after a while, where the engine does not do so.
        """

    def volumes(self) -> tuple[Volume, ...]:
        """Return the places for data that the cluster knows, by name."""

    def put_volume(self, place: Volume) -> None:
        """Keep a place; a directory that is on the hosts already can then be mounted by jobs on every host."""

    def remove_volume(self, name: str) -> None:
        """Forget a place; the data stays where it is. InUseError where tasks have it mounted."""


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
    ) -> ClusterInfo:
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
        cluster_spec.check_server_count(servers, len(hosts))
        with planning.lock_and_inspect(self.context, cluster, hosts, self._needs().ports) as gathered:
            design = planning.load_or_create_spec(gathered, cluster, self.kind, servers, self._new_secrets)
            planning.check_hosts(gathered, self._needs(), design)
            planning.ensure_unique_name(self.context, design)
            server = gathered.connections[gathered.host_at(design.servers[0])]
            pending = self._pending(planning.plan_hosts(gathered, design), server, design)
            if dryrun:
                return self._dry(design, pending, images)
            if not pending:
                self.context.report.note(f"cluster {cluster}: all hosts are in and healthy, nothing to do")
            leads = any(member.facts.address == design.servers[0] for member in pending)
            digests = {} if leads or not pending else planning.read_binary_digests(server)
            self._installation(design, gathered, server, digests).run(pending, images)
            self._equip(design, gathered, server)
            return self._described(design, server)

    def add(self, membership: DiscoveredCluster, hosts: Sequence[Host]) -> ClusterInfo:
        """Let `hosts` join as workers; jobs keep running.

        Raises:
            LockedError: another operator is at it.
            HostsError: hosts that failed, each with its cause; the others are in.
        """
        server = membership.first_server()
        design = self._read(membership, server)
        with planning.lock_and_inspect(self.context, design.cluster, hosts, self._needs().ports, [server]) as gathered:
            planning.check_hosts(gathered, self._needs(), design)
            members = planning.plan_hosts(gathered, design, joined=len(design.servers))
            pending = self._pending(members, server, design)
            if not pending:
                self.context.report.note(f"cluster {design.cluster}: these hosts are in and healthy, nothing to do")
            digests = planning.read_binary_digests(server) if pending else {}
            self._installation(design, gathered, server, digests).run(pending)
            self._equip(design, gathered, server)
            return self._described(design, server)

    def remove(self, membership: DiscoveredCluster, hosts: Sequence[Host], *, force: bool = False) -> None:
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

    def kill(self, membership: DiscoveredCluster, *, force: bool = False) -> None:
        """Take the cluster apart: jobs, agents, packages and files of ours go, on every host.

        Args:
            membership: the cluster.
            force: hosts that cannot be reached are no failure.

        Raises:
            HostsError: hosts that were not cleaned, each with its cause.
        """
        removal.kill(self.context, membership, self._nodes_or_none(membership), self._script(), force=force)

    def info(self, membership: DiscoveredCluster) -> ClusterInfo:
        """Return the cluster as its engine tells it; where the engine is silent, as its hosts do."""
        server = membership.first_server()
        design = self._read(membership, server)
        return self._described(design, server, membership)

    def workload(self, membership: DiscoveredCluster) -> JobService:
        """Return the cluster's jobs."""
        server = membership.first_server()
        design = self._read(membership, server)
        return JobService(self.context, design, server, partial(self._api, server, design.secrets))

    def volumes(self, membership: DiscoveredCluster) -> VolumeService:
        """Return the cluster's places for data."""
        server = membership.first_server()
        design = self._read(membership, server)
        return VolumeService(self.context, membership, partial(self._api, server, design.secrets))

    def results(self, membership: DiscoveredCluster, job_id: str, target: Path) -> CopySummary:
        """Bring what a job's tasks have left into the folder `target`; see `results.fetch`."""
        server = membership.first_server()
        design = self._read(membership, server)
        with self._api(server, design.secrets) as api:
            found = api.results(job_id)
        return results.fetch(self.context, membership, found, target)

    def kubeconfig(self, membership: DiscoveredCluster) -> bytes:
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
    def _files(self, design: ClusterSpec, member: HostPlan) -> Mapping[str, bytes]:
        """Return the engine's configuration of a host, as inputs of the host script."""

    @abstractmethod
    def _api(self, server: Connection, secrets: ClusterSecrets) -> AbstractContextManager[Engine]:
        """Open the engine's API through a server's connection."""

    def _deliver(
        self, design: ClusterSpec, server: Connection, registry: Registry, bundle: BinaryBundle
    ) -> Mapping[str, str]:
        """Send the engine to the cluster's registry; return the SHA-256 of each file that hosts fetch, by its name."""
        return deliver_binaries(registry, bundle, self.context.report)

    def _kubeconfig(self, design: ClusterSpec) -> bytes:
        raise UsageError(f"cluster {design.cluster} is of {self.kind}: only Kubernetes has a kubeconfig")

    @contextmanager
    def _invited(self, design: ClusterSpec, server: Connection) -> Iterator[Mapping[str, bytes]]:
        """Yield what hosts need to be let in, beside their files; it is worth nothing afterwards."""
        yield {}

    # --- shared by the verbs ----------------------------------------------------------------------------------------

    def _read(self, membership: DiscoveredCluster, server: Connection) -> ClusterSpec:
        """Return the blueprint of a cluster that exists, as its server holds it."""
        its = membership.marker
        secrets = planning.read_secrets(server)
        if secrets is None:
            raise ClusterError(f"cluster {its.cluster} was not finished: run its create again, or kill it")
        return ClusterSpec(its.cluster, its.id, its.provider, its.servers, secrets)

    def _installation(
        self, design: ClusterSpec, gathered: LockedHosts, server: Connection, digests: Mapping[str, str]
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

    def _equip(self, design: ClusterSpec, gathered: LockedHosts, server: Connection) -> None:
        """Bring the cluster's places for data to its hosts, also to those that had joined when they were cut off."""
        with self._api(server, design.secrets) as api:
            service.add_volumes_to_hosts(api, gathered.connections, self.context)

    def _all_files(self, design: ClusterSpec, member: HostPlan) -> Mapping[str, bytes]:
        common = planning.host_files(design, member, self._certificate_names(member.role))
        return {**common, **self._files(design, member)}

    def _pending(self, members: Sequence[HostPlan], server: Connection, design: ClusterSpec) -> list[HostPlan]:
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

    def _dry(self, design: ClusterSpec, pending: Sequence[HostPlan], images: Sequence[str]) -> ClusterInfo:
        for member in pending:
            steps = (
                "prepare, registry, bootstrap, join" if member.facts.address == design.servers[0] else "prepare, join"
            )
            self.context.report.note(f"{member.host}: would {steps} as {member.role} at {member.facts.address}")
        for image in images:
            self.context.report.note(f"{image}: would be built and delivered")
        return ClusterInfo(design.cluster, design.id, self.kind, "", design.registry)

    def _described(
        self, design: ClusterSpec, server: Connection, membership: DiscoveredCluster | None = None
    ) -> ClusterInfo:
        try:
            with self._api(server, design.secrets) as api:
                nodes = api.nodes()
        except ApiError as error:
            self.context.report.note(f"the engine does not answer: {error}")
            nodes = membership.as_nodes() if membership else ()
        healthy = bool(nodes) and all(node.status == "ready" for node in nodes)
        where = f"{self.endpoint} on {design.servers[0]}, through SSH"
        return ClusterInfo(design.cluster, design.id, self.kind, where, design.registry, nodes, healthy)

    def _nodes_or_none(self, membership: DiscoveredCluster) -> tuple[Node, ...]:
        try:
            server = membership.first_server()
            design = self._read(membership, server)
            with self._api(server, design.secrets) as api:
                return api.nodes()
        except ClusterError as error:
            self.context.report.note(f"only the hosts that were found are cleaned: {error}")
            return ()


BINARIES_REPOSITORY = "cloudmesh/engine"


def deliver_binaries(to: Registry, bundle: BinaryBundle, report: Report) -> dict[str, str]:
    """Send the engine's files that the registry lacks.

    Returns:
        The SHA-256 of each file by its name.
    """
    for file in bundle.files:
        if not to.has_blob(BINARIES_REPOSITORY, f"sha256:{file.sha256}"):
            report.step("engine", f"send {file.name} to the cluster")
            to.put_blob(BINARIES_REPOSITORY, file.path)
    report.done("engine", f"{bundle.engine} {bundle.version} ({bundle.source})")
    return {file.name: file.sha256 for file in bundle.files}
