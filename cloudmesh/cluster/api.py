"""What a cluster's orchestrator can be asked; each provider's `api.py` does it with the engine's own REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeGuard, TypeVar

from cloudmesh.cluster.jobs.model import Job, SparkJob
from cloudmesh.cluster.jobs.native import NativeJob
from cloudmesh.cluster.model import JobStatus, Node, Place

AnyJob_co = TypeVar("AnyJob_co", bound=Job, covariant=True)


class Chunk(NamedTuple):
    """A piece of a job's output: `stream` is "stdout" or "stderr"."""

    stream: str
    data: bytes


class Volume(NamedTuple):
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
    volumes: tuple[Volume, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    hosts: tuple[str, ...] = ()


def is_spark(submission: Submission[Job]) -> TypeGuard[Submission[SparkJob]]:
    """Return whether the job is Spark's; any other is what `jobs.layout` makes of it."""
    return isinstance(submission.job, SparkJob)


class Results(NamedTuple):
    """Where one task of a job has left its results.

    Attributes:
        task: its name. Empty: the engine knows no more of them, and any task may have left some there.
        node: the host.
        path: the directory there; without a name of the task, one that has theirs as TASK/ATTEMPT.
    """

    task: str
    node: Node
    path: str


class Accepted(NamedTuple):
    """What an engine has taken of a job in its own language.

    Attributes:
        name: as the engine's own tools call it.
        job_id: to follow it by; empty where it has no end to wait for.
    """

    name: str
    job_id: str = ""


class Api(Protocol):
    """The orchestrator of one cluster. Every method may raise ApiError; those about a job, NotFoundError."""

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that the engine knows."""

    def drain(self, node: Node, seconds: float) -> None:
        """Move the jobs away from `node` and send it no more; ApiError where that takes longer than `seconds`."""

    def forget(self, node: Node) -> None:
        """Strike `node` off the engine's list."""

    def specification(self, submission: Submission[Job]) -> Mapping[str, Any]:
        """Return the job as the engine would get it. Pure."""

    def obstacle(self, submission: Submission[Job]) -> str:
        """Return why the cluster could never run the job, though it were empty; empty if it could."""

    def submit(self, submission: Submission[Job]) -> None:
        """Run the job once, though the request be made twice; ClusterError where another job has its id."""

    def run_native(self, job: NativeJob) -> Iterator[Accepted]:
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

    def results(self, job_id: str) -> tuple[Results, ...]:
        """Return where the tasks of a job, ended or not, have left what they wrote to $CMS_RESULTS."""

    def address(self, job_id: str, port: str) -> str:
        """Return "HOST:PORT" by which tasks of other jobs reach the port called `port` of a job's first task."""

    def secret(self, job_id: str) -> str:
        """Return the secret that only the tasks of a job have, see CMS_SECRET_FILE in `jobs.layout`."""

    def expire(self) -> None:
        """Forget the jobs that ended longer ago than their time to live, with all that is theirs.

        A job that can never begin, as there is no such image, is ended after a while, where the engine does not do so.
        """

    def places(self) -> tuple[Place, ...]:
        """Return the places for data that the cluster knows, by name."""

    def put_place(self, place: Place) -> None:
        """Keep a place; a directory that is on the hosts already can then be mounted by jobs on every host."""

    def remove_place(self, name: str) -> None:
        """Forget a place; the data stays where it is. InUseError where tasks have it mounted."""
