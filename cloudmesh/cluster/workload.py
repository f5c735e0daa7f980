"""The jobs of one cluster: submitted, followed, told, stopped. The policy; the engine's part is its `Api`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster import delivery, names
from cloudmesh.cluster.api import Accepted, Api, Chunk, Submission
from cloudmesh.cluster.blueprint import Blueprint
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ApiError, ClusterError, UnknownOutcomeError, UsageError
from cloudmesh.cluster.images import catalog
from cloudmesh.cluster.installation import build_image
from cloudmesh.cluster.jobs.bundle import Bundle, bundle
from cloudmesh.cluster.jobs.model import Job
from cloudmesh.cluster.jobs.native import NativeJob
from cloudmesh.cluster.model import JobStatus, State

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection

Output = Callable[[Chunk], None]

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.5


class Workload:
    """The jobs of a cluster.

    Args:
        context: the operator's side.
        design: the cluster.
        server: connection to one of its servers.
        api: opens the engine's API.
    """

    def __init__(
        self,
        context: Context,
        design: Blueprint,
        server: Connection,
        api: Callable[[], AbstractContextManager[Api]],
    ) -> None:
        self._context = context
        self._design = design
        self._server = server
        self._api = api

    def submit(self, job: Job, *, job_id: str = "", output: Output | None = None) -> JobStatus:
        """Run `job`; with `output`, follow it to its end.

        Args:
            job: as the job file says.
            job_id: exactly-once: the same id and content again is the same job; empty: a new id is made.
            output: takes the driver's output as it comes; None: return as soon as the job is accepted.

        Raises:
            UsageError: the id is not valid; nothing was sent.
            ClusterError: the cluster could never run it, or another job has its id; nothing was run.
            UnknownOutcomeError: the engine went away while the job ran.
        """
        identity = names.check(job_id, "job id") if job_id else names.job_id(job.name)
        packed = bundle(job)
        with self._api() as api:
            draft = Submission(identity, job, self._address("…"), packed.digest)
            obstacle = api.obstacle(draft)
            if obstacle:
                raise ClusterError(f"job {identity} can never run on cluster {self._design.cluster}: {obstacle}")
            image = self._deliver(job, identity, packed)
            api.submit(replace(draft, image=self._address(image)))
            self._context.report.done("job", f"{identity} submitted")
            return self._follow(api, identity, output) if output else api.job(identity)

    def dryrun(self, job: Job, job_id: str = "") -> Mapping[str, Any]:
        """Return the job as the engine would get it; nothing is sent."""
        identity = names.check(job_id, "job id") if job_id else names.job_id(job.name)
        packed = bundle(job)
        image = delivery.job_image(identity, packed)
        with self._api() as api:
            return api.specification(Submission(identity, job, self._address(image), packed.digest))

    def submit_native(
        self, job: NativeJob, *, output: Output | None = None
    ) -> tuple[tuple[Accepted, ...], tuple[JobStatus, ...]]:
        """Hand a job in the engine's own language over as it is; with `output`, follow what has an end.

        Returns:
            What was accepted, and how that which was followed ended.

        Raises:
            UsageError: it is another engine's, or malformed; nothing was run.
            ClusterError: the engine refuses it.
        """
        self._check_engine(job)
        with self._api() as api:
            accepted = []
            for each in api.run_native(job):
                accepted.append(each)
                self._context.report.done("job", f"{each.name} accepted")
            if output and not any(each.job_id for each in accepted):
                self._context.report.note("accepted, and not followed: there is no outcome to wait for")
            ended = [self._follow(api, each.job_id, output) for each in accepted if each.job_id and output]
        return tuple(accepted), tuple(ended)

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return what `submit_native` would make, as the engine says; nothing is changed."""
        self._check_engine(job)
        with self._api() as api:
            return api.plan_native(job)

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that the engine still knows, the newest first."""
        with self._api() as api:
            return api.jobs()

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks; NotFoundError where there is none."""
        with self._api() as api:
            return api.job(names.check(job_id, "job id"))

    def logs(self, job_id: str, output: Output, *, follow: bool = False) -> None:
        """Give the driver's output to `output`; with `follow`, until it ends."""
        with self._api() as api:
            for chunk in api.logs(names.check(job_id, "job id"), follow):
                output(chunk)

    def stop(self, job_id: str) -> JobStatus:
        """End a job and all its tasks; nothing to do where it has ended."""
        with self._api() as api:
            api.stop(names.check(job_id, "job id"))
            return api.job(job_id)

    def _check_engine(self, job: NativeJob) -> None:
        if job.engine != self._design.provider:
            raise UsageError(
                f"{job.source} is a job for {job.engine}; "
                f"cluster {self._design.cluster} is of {self._design.provider}, and nothing was sent"
            )

    def _address(self, image: str) -> str:
        return f"{self._design.registry}/{image}"

    def _deliver(self, job: Job, job_id: str, packed: Bundle) -> str:
        """See to it that the cluster's registry has the job's image, and return its name there."""
        ours = job.image in catalog.IMAGES
        tag = catalog.tag(job.image) if ours else _with_tag(job.image)
        repository, _, version = tag.rpartition(":")
        with delivery.registry(self._server, self._design) as registry:
            if not registry.has_manifest(repository, version):
                if ours:
                    build_image(job.image, self._context)
                delivery.deliver_image(registry, tag, self._context.report)
            return delivery.deliver_job(registry, tag, job_id, packed)

    def _await_start(self, api: Api, job_id: str) -> None:
        """Tell what the job waits for until its driver runs."""
        told = None
        while (status := api.job(job_id)).state is State.QUEUED:
            if status.reason != told:
                told = status.reason
                self._context.report.step("job", f"{job_id} {status.state}{f': {told}' if told else ''}")
            time.sleep(_POLL_SECONDS)
        self._context.report.done("job", f"{job_id} {status.state}")

    def _follow(self, api: Api, job_id: str, output: Output) -> JobStatus:
        self._await_start(api, job_id)
        for chunk in api.logs(job_id, True):
            output(chunk)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                status = api.job(job_id)
                if status.state.ended:
                    api.stop(job_id)
                    return status
                deadline = time.monotonic() + _PATIENCE_SECONDS
            except ApiError as error:
                if time.monotonic() > deadline:
                    raise UnknownOutcomeError(
                        f"job {job_id}: its outcome is not known, the engine is silent: {error}"
                    ) from error
            time.sleep(_POLL_SECONDS)


def _with_tag(image: str) -> str:
    """Return the image's name with its tag; a port of a registry is none."""
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"
