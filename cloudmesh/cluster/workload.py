"""The jobs of one cluster: submitted, followed, told, stopped. The policy; the engine's part is its `Api`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudmesh.cluster import delivery, following, jobimage, names, placement, storage
from cloudmesh.cluster.api import Accepted, Api, Submission, is_spark
from cloudmesh.cluster.blueprint import Blueprint
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ApiError, ClusterError, UsageError
from cloudmesh.cluster.following import Output
from cloudmesh.cluster.jobs import layout
from cloudmesh.cluster.jobs.bundle import Bundle, bundle
from cloudmesh.cluster.jobs.model import Job, describe
from cloudmesh.cluster.jobs.native import NativeJob
from cloudmesh.cluster.model import JobStatus

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection


class _Draft(NamedTuple):
    """A job before its image is where the hosts find it."""

    submission: Submission[Job]
    packed: Bundle
    source: Job


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

    def submit(
        self,
        job: Job,
        *,
        job_id: str = "",
        secrets: Mapping[str, str] | None = None,
        output: Output | None = None,
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
        identity = _identity(job, job_id)
        with self._tidied() as api:
            draft = self._draft(api, job, identity, secrets or {}, hosts)
            self._send(api, [draft])
            if not output:
                return api.job(identity)
            if not is_spark(draft.submission) and layout.of(job, draft.submission.hosts).stays:
                return following.started(api, identity, self._context.report)
            return following.ended(api, identity, output, self._context.report)

    def submit_all(
        self, jobs: Mapping[str, Job], *, secrets: Mapping[str, str] | None = None, follow: bool = True
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
                return following.all_ended(api, list(checked), self._context.report)
            return tuple(api.job(job_id) for job_id in checked)

    def dryrun(self, job: Job, job_id: str = "") -> Mapping[str, Any]:
        """Return the job with everything filled in, and as the engine would get it; nothing is sent.

        Secrets have no values in it, and need none.
        """
        identity = _identity(job, job_id)
        with self._api() as api:
            draft = self._draft(api, job, identity, dict.fromkeys(_variables(job), ""))
            nameless = replace(draft.submission, secrets=dict.fromkeys(draft.submission.secrets, ""))
            return {"id": identity, "job": describe(nameless.job), "submission": api.specification(nameless)}

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
            report = self._context.report
            ended = [following.ended(api, each.job_id, output, report) for each in accepted if each.job_id and output]
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

    def logs(self, job_id: str, output: Output, *, follow: bool = False) -> None:
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
    def _tidied(self) -> Iterator[Api]:
        """Yield the engine's API, jobs whose time to live is over being forgotten."""
        with self._api() as api:
            # It is the next command's business as well.
            with suppress(ApiError):
                api.expire()
            yield api

    def _draft(self, api: Api, job: Job, job_id: str, secrets: Mapping[str, str], given: Sequence[str] = ()) -> _Draft:
        if missing := [name for name in _variables(job) if name not in secrets]:
            raise UsageError(f"job {job_id}: its secrets need a value for {', '.join(missing)}")
        packed = bundle(job)
        resolved = storage.resolve(job, api.places() if job.storage else (), api.address)
        for note in resolved.notes:
            self._context.report.note(note)
        image = jobimage.expected(self._design.registry, job, job_id, packed)
        own = {name: secrets[name] for name in _variables(job)}
        hosts = tuple(given) or self._hosts(api, job)
        submission = Submission(
            job_id, resolved.job, image, packed.digest, resolved.volumes, {**resolved.secrets, **own}, hosts
        )
        return _Draft(submission, packed, job)

    def _hosts(self, api: Api, job: Job) -> tuple[str, ...]:
        """Return the hosts for a job whose tasks are bound to hosts."""
        wanted = layout.hosts_wanted(job)
        chosen = placement.roomiest(api.nodes(), wanted) if wanted else ()
        if len(chosen) < wanted:
            raise ClusterError(
                f"job {job.name} needs {wanted} hosts, and cluster {self._design.cluster} has {len(chosen)} "
                "that take jobs: add hosts, or let it have fewer"
            )
        return chosen

    def _send(self, api: Api, drafts: Sequence[_Draft]) -> None:
        """Have the jobs run, unless one of them never could."""
        report, registry = self._context.report, self._design.registry
        for draft in drafts:
            if obstacle := api.obstacle(draft.submission):
                raise ClusterError(
                    f"job {draft.submission.id} can never run on cluster {self._design.cluster}: {obstacle}"
                )
        with delivery.registry(self._server, self._design) as to:
            for submission, packed, source in drafts:
                image = jobimage.deliver(to, registry, source, submission.id, packed, self._context)
                api.submit(replace(submission, image=image))
                report.done("job", f"{submission.id} submitted")


def _identity(job: Job, job_id: str) -> str:
    return names.check(job_id, "job id") if job_id else names.job_id(job.name)


def _variables(job: Job) -> list[str]:
    """Return the environment variables that the job's secrets name."""
    return [variable for secret in job.secrets for variable in secret.env]
