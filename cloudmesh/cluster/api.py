"""What a cluster's orchestrator can be asked; each provider's `api.py` does it with the engine's own REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from cloudmesh.cluster.jobs.model import SparkJob
from cloudmesh.cluster.jobs.native import NativeJob
from cloudmesh.cluster.model import JobStatus, Node


class Chunk(NamedTuple):
    """A piece of a job's output: `stream` is "stdout" or "stderr"."""

    stream: str
    data: bytes


class Submission(NamedTuple):
    """A job, ready to go to the engine.

    Attributes:
        id: of the job, checked.
        job: as it was resolved.
        image: that its tasks run, by the name the hosts pull it by.
        digest: of the job and its files; the same id with another digest is another job.
    """

    id: str
    job: SparkJob
    image: str
    digest: str


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

    def specification(self, submission: Submission) -> Mapping[str, Any]:
        """Return the job as the engine would get it. Pure."""

    def obstacle(self, submission: Submission) -> str:
        """Return why the cluster could never run the job, though it were empty; empty if it could."""

    def submit(self, submission: Submission) -> None:
        """Run the job once, though the request be made twice; ClusterError where another job has its id."""

    def run_native(self, job: NativeJob) -> Iterator[Accepted]:
        """Hand a job in the engine's own language over as it is, part by part; UsageError where it is malformed."""

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return what `run_native` would make, as the engine says itself; nothing is changed."""

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that the engine still knows, without tasks, the newest first."""

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""

    def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        """Yield the output of the driver, or of a native job's tasks; with `follow`, until it ends."""

    def stop(self, job_id: str) -> None:
        """End the job and all its tasks; of one that has ended, whatever is left."""
