"""The jobs of one cluster: submitted, followed, told, stopped. The policy; the engine's part is its `Api`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.cluster_spec import ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, ClusterError, UsageError
from cloudmesh.cluster.core.model import JobStatus
from cloudmesh.cluster.images import delivery
from cloudmesh.cluster.jobs import capacity, job_image
from cloudmesh.cluster.jobs.follow import OutputHandler, follow_to_end, wait_for_all, wait_until_running
from cloudmesh.cluster.providers.base import Engine, NativeSubmission, Submission, is_spark
from cloudmesh.cluster.spec.job import JobSpec, describe
from cloudmesh.cluster.spec.job_bundle import JobBundle, make_bundle
from cloudmesh.cluster.spec.native import NativeJob
from cloudmesh.cluster.storage import resolve

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


class PreparedJob(NamedTuple):
    """A job before its image is where the hosts find it."""

    submission: Submission[JobSpec]
    packed: JobBundle
    source: JobSpec


class JobService:
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
        design: ClusterSpec,
        server: Connection,
        api: Callable[[], AbstractContextManager[Engine]],
    ) -> None:
        self._context = context
        self._design = design
        self._server = server
        self._api = api

    def submit(
        self,
        job: JobSpec,
        *,
        job_id: str = "",
        secrets: Mapping[str, str] | None = None,
        output: OutputHandler | None = None,
        hosts: Sequence[str] = (),
    ) -> JobStatus:
        """Run `job`; with `output`, follow it to its end, or a service until it runs.

        Args:
            job: as the job file says.
            job_id: exactly-once: the same id and content again is the same job; empty: a new id is made.
            secrets: values of the environment variables that the job's secrets name.
            output: takes the job's output as it comes; None: return as soon as the job is accepted.
            hosts: engine's names of the hosts for tasks that are bound to hosts; of a SparkJob, no host gets two
                executors then. Empty: those with most room.

        Raises:
            UsageError: the id is not valid, or a secret has no value; nothing was sent.
            NotFoundError: the cluster has no such storage.
            ClusterError: the cluster could never run it, or another job has its id; nothing was run.
            UnknownOutcomeError: the engine went away while the job ran.
        """
        identity = _job_id(job, job_id)
        with self._tidied() as api:
            draft = self._draft(api, job, identity, secrets or {}, hosts)
            self._send(api, [draft])
            if not output:
                return api.job(identity)
            if not is_spark(draft.submission) and job.layout(draft.submission.hosts).stays:
                return wait_until_running(api, identity, self._context.report)
            return follow_to_end(api, identity, output, self._context.report)

    def submit_all(
        self, jobs: Mapping[str, JobSpec], *, secrets: Mapping[str, str] | None = None, follow: bool = True
    ) -> tuple[JobStatus, ...]:
        """Run several jobs beside each other; with `follow`, return when all have ended.

        Args:
            jobs: by their ids.
            secrets: as for `submit`, for all of them.
            follow: whether to wait.

        Raises:
            ClusterError: as for `submit`; one that could never run keeps all from being sent.
        """
        checked = {names.check(job_id, "job id"): job for job_id, job in jobs.items()}
        with self._tidied() as api:
            self._send(api, [self._draft(api, job, job_id, secrets or {}) for job_id, job in checked.items()])
            if follow:
                return wait_for_all(api, list(checked), self._context.report)
            return tuple(api.job(job_id) for job_id in checked)

    def dryrun(self, job: JobSpec, job_id: str = "") -> Mapping[str, Any]:
        """Return the job with everything filled in, and as the engine would get it; nothing is sent.

        Secrets have no values in it, and need none.
        """
        identity = _job_id(job, job_id)
        with self._api() as api:
            draft = self._draft(api, job, identity, dict.fromkeys(_variables(job), ""))
            nameless = replace(draft.submission, secrets=dict.fromkeys(draft.submission.secrets, ""))
            return {"id": identity, "job": describe(nameless.job), "submission": api.specification(nameless)}

    def submit_native(
        self, job: NativeJob, *, output: OutputHandler | None = None
    ) -> tuple[tuple[NativeSubmission, ...], tuple[JobStatus, ...]]:
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
            report = self._context.report
            ended = [follow_to_end(api, each.job_id, output, report) for each in accepted if each.job_id and output]
        return tuple(accepted), tuple(ended)

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return what `submit_native` would make, as the engine says; nothing is changed."""
        self._check_engine(job)
        with self._api() as api:
            return api.plan_native(job)

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that the engine still knows, the newest first."""
        with self._tidied() as api:
            return api.jobs()

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks; NotFoundError where there is none."""
        with self._api() as api:
            return api.job(names.check(job_id, "job id"))

    def logs(self, job_id: str, output: OutputHandler, *, follow: bool = False) -> None:
        """Give the driver's output to `output`; with `follow`, until it ends."""
        with self._api() as api:
            for chunk in api.logs(names.check(job_id, "job id"), follow):
                output(chunk)

    def stop(self, job_id: str) -> JobStatus:
        """End a job and all its tasks; nothing to do where it has ended."""
        with self._tidied() as api:
            api.stop(names.check(job_id, "job id"))
            return api.job(job_id)

    def _check_engine(self, job: NativeJob) -> None:
        if job.engine != self._design.provider:
            raise UsageError(
                f"{job.source} is a job for {job.engine}; "
                f"cluster {self._design.cluster} is of {self._design.provider}, and nothing was sent"
            )

    @contextmanager
    def _tidied(self) -> Iterator[Engine]:
        """Yield the engine's API, jobs whose time to live is over being forgotten."""
        with self._api() as api:
            # It is the next command's business as well.
            with suppress(ApiError):
                api.purge_expired()
            yield api

    def _draft(
        self, api: Engine, job: JobSpec, job_id: str, secrets: Mapping[str, str], given: Sequence[str] = ()
    ) -> PreparedJob:
        if missing := [name for name in _variables(job) if name not in secrets]:
            raise UsageError(f"job {job_id}: its secrets need a value for {', '.join(missing)}")
        packed = make_bundle(job)
        resolved = resolve.resolve(job, api.volumes() if job.storage else (), api.address)
        for note in resolved.notes:
            self._context.report.note(note)
        image = job_image.expected_name(self._design.registry, job, job_id, packed)
        own = {name: secrets[name] for name in _variables(job)}
        hosts = tuple(given) or self._hosts(api, job)
        submission = Submission(
            job_id, resolved.job, image, packed.digest, resolved.volumes, {**resolved.secrets, **own}, hosts
        )
        return PreparedJob(submission, packed, job)

    def _hosts(self, api: Engine, job: JobSpec) -> tuple[str, ...]:
        """Return the hosts for a job whose tasks are bound to hosts."""
        wanted = job.hosts_wanted
        chosen = capacity.hosts_with_most_free(api.nodes(), wanted) if wanted else ()
        if len(chosen) < wanted:
            raise ClusterError(
                f"job {job.name} needs {wanted} hosts, and cluster {self._design.cluster} has {len(chosen)} "
                "that take jobs: add hosts, or let it have fewer"
            )
        return chosen

    def _send(self, api: Engine, drafts: Sequence[PreparedJob]) -> None:
        """Have the jobs run, unless one of them never could."""
        report, registry = self._context.report, self._design.registry
        nodes = [node for node in api.nodes() if node.cores]
        for draft in drafts:
            if why := capacity.why_unschedulable(draft.submission, nodes, api.spark_overhead_mb):
                raise ClusterError(f"job {draft.submission.id} can never run on cluster {self._design.cluster}: {why}")
        with delivery.open_registry(self._server, self._design) as to:
            for submission, packed, source in drafts:
                image = job_image.deliver(to, registry, source, submission.id, packed, self._context)
                api.submit(replace(submission, image=image))
                report.done("job", f"{submission.id} submitted")


def _job_id(job: JobSpec, job_id: str) -> str:
    return names.check(job_id, "job id") if job_id else names.new_job_id(job.name)


def _variables(job: JobSpec) -> list[str]:
    """Return the environment variables that the job's secrets name."""
    return [variable for secret in job.secrets for variable in secret.env]
