"""What is done with the jobs of a cluster, on any engine: submit, list, follow, stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.digests import keyed_digest
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostsError, NotFoundError, UsageError
from cloudmesh.cluster.core.model import JobStatus, Volume
from cloudmesh.cluster.jobs import capacity, job_image, moved_data
from cloudmesh.cluster.jobs.engine_jobs import clear_ended, submit_once
from cloudmesh.cluster.jobs.follow import (
    OutputHandler,
    follow_to_end,
    unknown_where_silent,
    wait_for_all,
    wait_until_running,
)
from cloudmesh.cluster.jobs.lost_hosts import explain_failure, find_lost_output
from cloudmesh.cluster.providers.base import Engine, Mount, NativeSubmission, Submission, is_spark
from cloudmesh.cluster.providers.open_cluster import OpenCluster
from cloudmesh.cluster.spec.job import JobSpec, describe
from cloudmesh.cluster.spec.job_bundle import JobBundle, make_bundle
from cloudmesh.cluster.spec.native import NativeJob


class ResolvedJob(Protocol):
    """A job whose volume claims have been resolved; `storage.resolve` makes it."""

    @property
    def job(self) -> JobSpec:
        """The job, with everything filled in that is not secret."""

    @property
    def volumes(self) -> tuple[Mount, ...]:
        """What its tasks have mounted."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """Environment variables that are kept as the engine keeps secrets."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, a line each."""


ResolveVolumes = Callable[[JobSpec, Sequence[Volume], Callable[[str, str], str]], ResolvedJob]
"""Takes a job, the cluster's volumes, and a function of a job's id and a port's name that returns "HOST:PORT"."""


class PreparedJob(NamedTuple):
    """A job before its image is where the hosts find it.

    Attributes:
        submission: the job as the engine gets it, but for its image.
        bundle: its files.
        source: the job as its file says.
    """

    submission: Submission[JobSpec]
    bundle: JobBundle
    source: JobSpec


class JobService:
    """The jobs of a cluster.

    Args:
        opened: the cluster.
        resolve_volumes: fills in what the volumes that a job names are on this cluster.
    """

    def __init__(self, opened: OpenCluster, resolve_volumes: ResolveVolumes) -> None:
        self._context = opened.context
        self._spec = opened.spec
        self._server = opened.server
        self._discovered = opened.discovered
        self._open_engine = opened.engine
        self._opened = opened
        self._resolve_volumes = resolve_volumes

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
            UnknownOutcomeError: the engine went away once it had the job.
        """
        identity = _job_id(job, job_id)
        self._context.report.step("job", identity)  # before anything is sent: it can be asked after, whatever happens
        with self._cleared_engine() as engine:
            prepared = self._prepare(engine, job, identity, secrets or {}, hosts)
            self._send(engine, [prepared])
            with unknown_where_silent(self._spec.cluster, identity):
                if not output:
                    return engine.job(identity)
                if not is_spark(prepared.submission) and job.layout(prepared.submission.hosts).is_service:
                    return wait_until_running(engine, identity, self._context.report)
                return follow_to_end(engine, identity, output, self._context.report)

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
        with self._cleared_engine() as engine:
            self._send(engine, [self._prepare(engine, job, job_id, secrets or {}) for job_id, job in checked.items()])
            with unknown_where_silent(self._spec.cluster, *checked):
                if follow:
                    return wait_for_all(engine, list(checked), self._context.report)
                return tuple(engine.job(job_id) for job_id in checked)

    def dryrun(self, job: JobSpec, job_id: str = "") -> Mapping[str, Any]:
        """Return the job with everything filled in, and as the engine would get it; nothing is sent.

        Secrets have no values in it, and need none.
        """
        identity = _job_id(job, job_id)
        with self._open_engine() as engine:
            prepared = self._prepare(engine, job, identity, dict.fromkeys(_variables(job), ""))
            without_values = replace(prepared.submission, secrets=dict.fromkeys(prepared.submission.secrets, ""))
            return {
                "id": identity,
                "job": describe(without_values.job),
                "submission": engine.specification(without_values),
            }

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
        with self._open_engine() as engine:
            accepted = []
            for submission in engine.run_native(job):
                accepted.append(submission)
                self._context.report.done("job", f"{submission.name} accepted")
            if output and not any(submission.job_id for submission in accepted):
                self._context.report.note("accepted, and not followed: there is no outcome to wait for")
            report = self._context.report
            followed = [submission.job_id for submission in accepted if submission.job_id and output]
            with unknown_where_silent(self._spec.cluster, *followed):
                ended = [follow_to_end(engine, job_id, output, report) for job_id in followed] if output else []
        return tuple(accepted), tuple(ended)

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return what `submit_native` would make, as the engine says; nothing is changed."""
        self._check_engine(job)
        with self._open_engine() as engine:
            return engine.plan_native(job)

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that the engine still knows, the newest first."""
        with self._cleared_engine() as engine:
            return engine.jobs()

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks; NotFoundError where there is none."""
        with self._open_engine() as engine:
            return engine.job(names.check(job_id, "job id"))

    def wait(self, job_id: str, output: OutputHandler | None = None) -> JobStatus:
        """Wait until a job has ended, its output given to `output` as it comes; nothing of it runs any more then.

        Raises:
            UnknownOutcomeError: the engine went away while the job ran.
        """
        names.check(job_id, "job id")
        with self._open_engine() as engine, unknown_where_silent(self._spec.cluster, job_id):
            if output:
                return follow_to_end(engine, job_id, output, self._context.report)
            return wait_for_all(engine, [job_id], self._context.report)[0]

    def logs(self, job_id: str, output: OutputHandler, *, follow: bool = False) -> None:
        """Give the driver's output to `output`, first what hosts that left had of it; with `follow`, until it ends.

        Raises:
            HostsError: hosts that have some of it are down or gone; what the others have was given.
        """
        with self._open_engine() as engine:
            status = engine.job(names.check(job_id, "job id"))
            moved = moved_data.find(self._discovered, job_id)
            lost = {} if follow and not status.state.ended else find_lost_output(engine, status, moved)
            # A host may have come back by its old name.
            gone = {entry.node_id for entry in moved} - {node.id for node in (engine.nodes() if moved else ())}
            try:
                for entry in moved:
                    for chunk in moved_data.read_output(job_id, entry):
                        output(chunk)
                for chunk in engine.logs(job_id, follow, lambda node_id: node_id not in gone):
                    output(chunk)
            except (ApiError, NotFoundError) as error:
                lost = lost or find_lost_output(engine, status, moved)
                if not lost:
                    raise explain_failure(engine, job_id, error) from error
            if lost:
                raise HostsError(lost)

    def stop(self, job_id: str) -> JobStatus:
        """End a job and all its tasks; nothing to do where it has ended."""
        with self._cleared_engine() as engine:
            engine.stop(names.check(job_id, "job id"))
            return engine.job(job_id)

    def _check_engine(self, job: NativeJob) -> None:
        if job.engine != self._spec.provider:
            raise UsageError(
                f"{job.source} is a job for {job.engine}; "
                f"cluster {self._spec.cluster} is of {self._spec.provider}, and nothing was sent"
            )

    @contextmanager
    def _cleared_engine(self) -> Iterator[Engine]:
        """Yield the engine's API, once nothing is left of ended jobs that should not be; best effort."""
        with self._open_engine() as engine:
            # The next command does it again.
            with suppress(ApiError):
                clear_ended(engine)
            yield engine

    def _prepare(
        self, engine: Engine, job: JobSpec, job_id: str, secrets: Mapping[str, str], hosts: Sequence[str] = ()
    ) -> PreparedJob:
        if missing := [name for name in _variables(job) if name not in secrets]:
            raise UsageError(f"job {job_id}: its secrets need a value for {', '.join(missing)}")
        bundle = make_bundle(job)
        resolved = self._resolve_volumes(job, engine.volumes() if job.storage else (), engine.address)
        for note in resolved.notes:
            self._context.report.note(note)
        image = job_image.expected_name(self._spec.registry, job, job_id, bundle)
        values = {name: secrets[name] for name in _variables(job)}
        chosen = tuple(hosts) or self._choose_hosts(engine, job)
        digest = self._digest(bundle, values)
        submission = Submission(
            job_id, resolved.job, image, digest, resolved.volumes, {**resolved.secrets, **values}, chosen
        )
        return PreparedJob(submission, bundle, job)

    def _digest(self, bundle: JobBundle, secrets: Mapping[str, str]) -> str:
        """Return the digest of a job and its secrets, by which nobody without the cluster's key can guess any."""
        if not any(secrets.values()):
            return bundle.digest
        return f"{bundle.digest}+{keyed_digest(self._spec.secrets.digest_key, secrets)}"

    def _choose_hosts(self, engine: Engine, job: JobSpec) -> tuple[str, ...]:
        """Return the hosts for a job whose tasks are bound to hosts."""
        count = job.hosts_wanted
        chosen = capacity.hosts_with_most_free(engine.nodes(), count) if count else ()
        if len(chosen) < count:
            raise ClusterError(
                f"job {job.name} needs {count} hosts, and cluster {self._spec.cluster} has {len(chosen)} "
                "that take jobs: add hosts, or let it have fewer"
            )
        return chosen

    def _send(self, engine: Engine, jobs: Sequence[PreparedJob]) -> None:
        """Have the jobs run, unless one of them never could."""
        report, registry = self._context.report, self._spec.registry
        nodes = [node for node in engine.nodes() if node.cores]
        for prepared in jobs:
            if why := capacity.why_unschedulable(prepared.submission, nodes, engine.spark_overhead_mb):
                raise ClusterError(f"job {prepared.submission.id} can never run on cluster {self._spec.cluster}: {why}")
        with self._opened.registry() as to:
            ready = [
                replace(submission, image=job_image.deliver(to, registry, source, submission.id, bundle, self._context))
                for submission, bundle, source in jobs
            ]
        for submission in ready:
            if submit_once(engine, submission):
                report.done("job", f"{submission.id} submitted")
            else:
                report.done("job", _describe_earlier(engine.job(submission.id)))


def _job_id(job: JobSpec, job_id: str) -> str:
    return names.check(job_id, "job id") if job_id else names.new_job_id(job.name)


def _describe_earlier(status: JobStatus) -> str:
    """Return when a job was submitted before, and what has become of it."""
    submitted = datetime.fromtimestamp(status.submitted, timezone.utc)
    outcome = f"{status.state}{f': {status.reason}' if status.reason else ''}"
    return f"{status.id} already submitted, {submitted:%Y-%m-%dT%H:%M:%SZ}: {outcome}"


def _variables(job: JobSpec) -> list[str]:
    """Return the environment variables that the job's secrets name."""
    return [variable for secret in job.secrets for variable in secret.env]
