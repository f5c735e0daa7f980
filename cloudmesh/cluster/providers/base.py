"""Provider, what differs between engines, and Engine, what a cluster's orchestrator can be asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeGuard, TypeVar

from cloudmesh.cluster.binaries import BinaryBundle
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import JobStatus, Node, Role, Volume
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.providers.rotation import EngineRotation
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob
from cloudmesh.cluster.spec.spark import SparkJob

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


AnyJob_co = TypeVar("AnyJob_co", bound=JobSpec, covariant=True)


class Chunk(NamedTuple):
    """A piece of a job's output: `stream` is "stdout" or "stderr"."""

    stream: str
    data: bytes


class Mount(NamedTuple):
    """A volume with a directory on the hosts, as the tasks of a job see it.

    Attributes:
        volume: the volume's name.
        mount: where it is in the tasks.
        read_only: whether they may only read.
    """

    volume: str
    mount: str
    read_only: bool = False


@dataclass(frozen=True)
class Submission(Generic[AnyJob_co]):
    """A job, ready to go to the engine.

    Attributes:
        id: of the job, checked.
        job: as it was resolved.
        image: that its tasks run, by the name the hosts pull it by.
        digest: of the job, its files and, keyed, the secrets that its user gave; the same id with another digest is
            another job.
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
    """Return whether the job is Spark's; any other kind says itself of which tasks it is made."""
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


class TaskHost(NamedTuple):
    """A task of a job, and the node that it runs or ran on: a `missing_node` where the engine has it no more."""

    task: str
    node: Node


# Statuses of nodes: one that the engine has no more, and one of which it has not heard for a while.
MISSING, SILENT = "missing", "silent"
# Those of servers of which it is not known that they take part in what the servers decide.
NOT_LIVING = ("down", "no API", MISSING, SILENT, "unknown")
# Statuses of nodes that have all they need; the operator has told the engine to give some of them no jobs.
OUT_OF_USE = ("draining", "drained")
IN_PLACE = ("ready", *OUT_OF_USE)


def missing_node(name: str, node_id: str) -> Node:
    """Return the node of a task, by its name in the engine and its id there, where the engine has it no more."""
    return Node(name, "", (), MISSING, id=node_id, node=name)


class Leftover(NamedTuple):
    """A job of a job file that has ended, or can never begin, and of which tasks or secrets are still there.

    Attributes:
        job_id: its id.
        why_hopeless: why it can never begin; empty where it has ended.
    """

    job_id: str
    why_hopeless: str = ""


class NativeSubmission(NamedTuple):
    """What an engine has taken of a job in its own language.

    Attributes:
        name: as the engine's own tools call it.
        job_id: to follow it by; empty where it has no end to wait for.
    """

    name: str
    job_id: str = ""


class Snapshot(NamedTuple):
    """The state of a cluster's engine, with which the servers of another one can begin.

    Attributes:
        data: as the engine's own tools put it in place.
        taken: when it was taken, by the cluster's time, in seconds since the epoch.
        taken_names: names that no node can have where it was put in place, as there are nodes of these names in it.
    """

    data: bytes
    taken: float
    taken_names: tuple[str, ...] = ()


class Engine(Protocol):
    """The orchestrator of one cluster. Every method may raise ApiError; those about a job, NotFoundError.

    Attributes:
        spark_overhead_mb: MiB that it runs beside a Spark job's driver, and beside each executor.
    """

    spark_overhead_mb: int

    def check(self) -> None:
        """Raise ApiError, within some seconds, unless the API answers questions about the cluster."""

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that the engine knows."""

    def cordon(self, node: Node) -> None:
        """Send `node` no more jobs; those that run there stay. `end_drain` takes it back."""

    def begin_drain(self, node: Node) -> None:
        """Send `node` no more jobs; ApiError where a service is bound to it."""

    def move_jobs(self, node: Node) -> tuple[str, ...]:
        """Move away what can move, of a node that is being drained; return the ids of the jobs that still run there."""

    def end_drain(self, node: Node) -> None:
        """Let `node` take jobs again."""

    def remove_server(self, node: Node) -> None:
        """Take a server out of those that decide, alive or dead; nothing is done where it is none of them."""

    def remove_node(self, node: Node) -> None:
        """Take `node` off the engine's list."""

    def specification(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        """Return the job as the engine would get it; nothing is sent."""

    def submit(self, submission: Submission[JobSpec]) -> None:
        """Run the job; ApiError where the engine has a job of its id, which stays as it is."""

    def resume(self, submission: Submission[JobSpec]) -> None:
        """Finish a submission of the same job that was cut off; nothing is done where it was complete."""

    def run_native(self, job: NativeJob) -> Iterator[NativeSubmission]:
        """Hand a job in the engine's own language over as it is, part by part; UsageError where it is malformed."""

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return what `run_native` would make, as the engine says itself; nothing is changed."""

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that the engine still knows, the newest first."""

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""

    def logs(self, job_id: str, follow: bool, where: Callable[[str], bool] | None = None) -> Iterator[Chunk]:
        """Yield the output of the driver, or of a native job's tasks; with `follow`, until it ends.

        Args:
            job_id: of the job.
            follow: go on until it ends.
            where: tells by the id of a node whether the output of the tasks there is wanted; None: all is.
        """

    def output_hosts(self, job_id: str) -> tuple[TaskHost, ...]:
        """Return the tasks whose output is the job's, where each started last; of nodes, at least name and status."""

    def stop(self, job_id: str, why_hopeless: str = "") -> None:
        """End the job and all its tasks; of one that has ended, whatever is left.

        Args:
            job_id: of the job.
            why_hopeless: why the job failed though nobody stopped it: it could never begin.
        """

    def results(self, job_id: str) -> tuple[ResultLocation, ...]:
        """Return where the tasks of a job, ended or not, have left what they wrote to $CMS_RESULTS."""

    def address(self, job_id: str, port: str) -> str:
        """Return "HOST:PORT" by which tasks of other jobs reach the port called `port` of a job's first task."""

    def secret(self, job_id: str) -> str:
        """Return the secret that only the tasks of a job have, see CMS_SECRET_FILE in `spec.task_groups`."""

    def leftovers(self) -> tuple[Leftover, ...]:
        """Return the jobs of which something is left, and those that can never begin, as there is no such image."""

    def forget_expired(self) -> None:
        """Forget the jobs that ended longer ago than their time to live, where the engine does not by itself."""

    def snapshot(self) -> Snapshot:
        """Return the state of the engine: jobs, volumes and secrets, and all else that its servers know."""

    def volumes(self) -> tuple[Volume, ...]:
        """Return the volumes that the cluster knows, by name."""

    def put_volume(self, volume: Volume) -> None:
        """Keep a volume; a directory that is on the hosts already can then be mounted by jobs on every host."""

    def remove_volume(self, name: str) -> None:
        """Forget a volume; the data stays where it is. InUseError where tasks have it mounted."""


@dataclass(frozen=True)
class Delivery:
    """What a cluster's registry has of the engine.

    Attributes:
        digests: SHA-256 in hex of each file that hosts fetch, by its name.
        image_repository: where the engine's own images are in the registry; empty: where the engine looks by default.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    image_repository: str = ""


class Provider(ABC):
    """What differs between engines when hosts become part of a cluster. It has no policy: that is in `lifecycle`.

    Attributes:
        kind: its name, as `-p` and the markers have it.
        endpoint: where the API listens, as seen on a server itself.
        empties_for_minor: whether tasks have to leave a host before its engine goes to another minor version.
            Otherwise, and from one patch level to the next, they run on while the engine is started anew there.
    """

    kind: ClassVar[str]
    endpoint: ClassVar[str]
    empties_for_minor: ClassVar[bool] = False

    @abstractmethod
    def needs(self) -> Needs:
        """Return what a host must have."""

    @abstractmethod
    def host_script(self) -> str:
        """Return the host script; its verbs: prepare, registry, bootstrap, join, servers, rotate, upgrade and clean.

        Where `bootstrap` finds a file SNAPSHOT among its inputs, the engine begins with that state, and forgets the
        nodes that there were.
        """

    @abstractmethod
    def new_secrets(self) -> Mapping[str, str]:
        """Return the engine's own secrets for a new cluster."""

    def choose_networks(self, taken: Sequence[str]) -> Mapping[str, str]:
        """Return networks of the engine's own for a new cluster, as CIDR by what they are for; many engines have none.

        Args:
            taken: routes of the hosts, as `Facts.routes` has them, with which they must have nothing in common.

        Raises:
            ClusterError: there is none that is free.
        """
        return {}

    @abstractmethod
    def certificate_names(self, role: Role) -> Sequence[str]:
        """Return the DNS names that the engine wants in the certificate of a host with `role`."""

    @abstractmethod
    def host_files(self, spec: ClusterSpec, plan: HostPlan, delivery: Delivery) -> Mapping[str, bytes]:
        """Return the engine's configuration of a host, as inputs of the host script."""

    @abstractmethod
    def server_list_files(self, spec: ClusterSpec, role: Role) -> Mapping[str, bytes]:
        """Return what the configuration of a host with `role` says of which servers there are, as `host_files` does."""

    @abstractmethod
    def open_engine(self, server: Connection, secrets: ClusterSecrets) -> AbstractContextManager[Engine]:
        """Open the engine's API through a server's connection."""

    def deliver(
        self, spec: ClusterSpec, server: Connection, registry: Registry, bundle: BinaryBundle, report: Report
    ) -> Delivery:
        """Send the engine's binaries to the cluster's registry, from which the hosts fetch them."""
        return Delivery(deliver_binaries(registry, bundle, report))

    @contextmanager
    def join_credentials(self, spec: ClusterSpec, server: Connection) -> Iterator[Mapping[str, bytes]]:
        """Yield what hosts need to be let in, beside their files; it is worth nothing afterwards."""
        yield {}

    def rotation(self) -> EngineRotation | None:
        """Return how the engine's own credentials are replaced; None: there is no way to do that yet."""
        return None

    def kubeconfig(self, spec: ClusterSpec) -> bytes:
        """Return the file by which kubectl reaches the cluster, with an administrator's key in it.

        Raises:
            UsageError: the engine is not Kubernetes.
        """
        raise UsageError(f"cluster {spec.cluster} is of {self.kind}: only Kubernetes has a kubeconfig")


# An input file of `bootstrap`: what `Engine.snapshot` returned, of the same cluster.
SNAPSHOT = "snapshot"
BINARIES_REPOSITORY = "cloudmesh/engine"


def deliver_binaries(to: Registry, bundle: BinaryBundle, report: Report) -> dict[str, str]:
    """Send the engine's files that the registry lacks, and a manifest of them, by which other servers know of them.

    Returns:
        The SHA-256 of each file by its name.
    """
    for file in bundle.files:
        if not to.has_blob(BINARIES_REPOSITORY, f"sha256:{file.sha256}"):
            report.step("engine", f"send {file.name} to the cluster")
            to.put_blob(BINARIES_REPOSITORY, file.path)
    sizes = {f"sha256:{file.sha256}": file.path.stat().st_size for file in bundle.files}
    to.name_blobs(BINARIES_REPOSITORY, f"{bundle.engine}-{bundle.version}", sizes)
    report.done("engine", f"{bundle.engine} {bundle.version} ({bundle.source})")
    return {file.name: file.sha256 for file in bundle.files}
