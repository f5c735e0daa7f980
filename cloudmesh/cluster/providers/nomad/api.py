"""Nomad's REST API, by python-nomad; see `api_client.py` for how it is reached."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError, UsageError
from cloudmesh.cluster.core.model import JobStatus, Node, Volume
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.base import Chunk, NativeSubmission, ResultLocation, Submission, is_spark
from cloudmesh.cluster.providers.nomad import api_client, bootstrap, native, nodes, spark_job, status, task_group_job
from cloudmesh.cluster.providers.nomad.api_client import call, call_with_retry
from cloudmesh.cluster.providers.nomad.job_spec import DIGEST, RESULTS
from cloudmesh.cluster.providers.nomad.logs import TaskOutput
from cloudmesh.cluster.providers.nomad.secrets import JobSecrets
from cloudmesh.cluster.providers.nomad.volumes import VolumeStore
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob, check_nomad

if TYPE_CHECKING:
    import nomad

    from cloudmesh.cluster.ssh.connection import Connection


_POLL_SECONDS = 0.4


@contextmanager
def open_engine(server: Connection, token: str) -> Iterator[NomadEngine]:
    """Yield the API of the cluster that `server` belongs to, reached through SSH."""
    with api_client.open_client(server, token) as client:
        yield NomadEngine(client)


class NomadEngine:
    """Nomad's part of `providers.base.Engine`, which says what each method does."""

    spark_overhead_mb = spark_job.DAEMON_MB

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._volumes = VolumeStore(client)
        self._secrets = JobSecrets(client)

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that Nomad knows, with what its jobs leave free."""
        stubs = call(lambda: self._client.nodes.get_nodes(resources=True))
        running = call(lambda: self._client.allocations.get_allocations(resources=True, task_states=False))
        servers = self._servers()
        full = [call(partial(self._client.node.get_node, stub["ID"])) for stub in stubs]
        return tuple(sorted((nodes.read_node(each, running, servers) for each in full), key=lambda node: node.name))

    def drain(self, node: Node, seconds: float) -> None:
        """Send `node` no more jobs, move away what can move, and wait for the rest to end."""
        nodes.drain(self._client, node, seconds)

    def remove_node(self, node: Node) -> None:
        """Strike `node` off Nomad's list, with its volumes."""
        self._volumes.forget(node.id)
        call(lambda: self._client.node.purge_node(node.id))

    def specification(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        """Return the Nomad job."""
        return {"Job": spark_job.spark_job(submission) if is_spark(submission) else task_group_job.job(submission)}

    def submit(self, submission: Submission[JobSpec]) -> None:
        """Run the job once: the register call refuses to replace a job that is there."""
        found = self._found(submission.id)
        if found is None:
            self._secrets.grant(submission)
            body = {**self.specification(submission), "EnforceIndex": True, "JobModifyIndex": 0}
            try:
                call(lambda: self._client.job.register_job(submission.id, body))
                return
            except ApiError:
                # The answer may have been lost after the job was taken, or another was quicker.
                found = self._found(submission.id)
                if found is None:
                    self._secrets.revoke(submission.id)
                    raise
        if (found["Meta"] or {}).get(DIGEST) != submission.digest:
            raise ClusterError(f"job {submission.id} exists with another content: choose another --id")

    def run_native(self, job: NativeJob) -> Iterator[NativeSubmission]:
        """Register the job, as `nomad job run` does; one of the same id is replaced, unless it is a job file's."""
        specification = self._native(job)
        job_id = specification["ID"]
        found = self._found(job_id)
        if found and DIGEST in (found["Meta"] or {}):
            raise ClusterError(f"job {job_id} exists, and was made of a job file: choose another ID")
        call(lambda: self._client.job.register_job(job_id, {"Job": specification}))
        yield NativeSubmission(job_id, job_id if native.has_an_end(self._found(job_id) or {}) else "")

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return the job, and what Nomad plans to do with it."""
        specification = self._native(job)
        plan = call(lambda: self._client.job.plan_job(specification["ID"], {"Job": specification}, diff=True))
        return {"Job": specification, "Plan": plan}

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that Nomad still knows, the newest first; not the runs that it makes of a job by itself."""
        ids = [stub["ID"] for stub in call(self._client.jobs.get_jobs)]
        # An id that is none of ours would mean something else in a URL.
        found = [self._status(job_id) for job_id in ids if names.is_label(job_id)]
        return tuple(sorted((job for job in found if job), key=lambda job: job.submitted, reverse=True))

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""
        found = self._status(job_id)
        if found is None:
            raise outcomes.no_such_job(job_id)
        return found

    def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        """Yield the job's output; with `follow`, until it ends. It is polled, so a leader change costs nothing."""
        output = TaskOutput(self._client)
        while True:
            current = call_with_retry(lambda: self.job(job_id))
            sources = self._outputs(job_id, ours=bool(current.digest))
            ended = current.state.ended
            yield from output.rest(sources) if ended else output.new(sources)
            if ended or not follow:
                return
            time.sleep(_POLL_SECONDS)

    def stop(self, job_id: str) -> None:
        """End the job and all its tasks; of one that has ended, the workers that are left or still to come."""
        found = self._found(job_id)
        if found is None:
            raise outcomes.no_such_job(job_id)
        ended_by_itself = found["Status"] == "dead" and DIGEST not in (found["Meta"] or {})
        if not found["Stop"] and not ended_by_itself:
            call(lambda: self._client.job.deregister_job(job_id, purge=False))
        if DIGEST in (found["Meta"] or {}):
            self._secrets.revoke(job_id)

    def results(self, job_id: str) -> tuple[ResultLocation, ...]:
        """Return the directories that the tasks' allocations share with their hosts."""
        self.job(job_id)
        there = {node.id: node for node in self.nodes()}
        return tuple(
            ResultLocation(
                name,
                there.get(each["NodeID"]) or _missing_node(each),
                f"{bootstrap.ALLOCATIONS}/{each['ID']}/{RESULTS}",
            )
            for name, each in status.find_started_tasks(self._allocations(job_id))
        )

    def address(self, job_id: str, port: str) -> str:
        """Return where the first task of the job's first part listens, as Nomad's service of that port says."""
        full = self._found(job_id)
        if full is None:
            raise outcomes.no_such_job(job_id)
        wanted = f"{full['TaskGroups'][0]['Tasks'][0]['Name']} 0 {port}"
        for each in self._services(task_group_job.build_service_name(job_id)):
            if wanted in each["Tags"]:
                return f"{each['Address']}:{each['Port']}"
        raise ApiError(f"job {job_id} has no port {port} now: it does not run, or it has none of that name")

    def secret(self, job_id: str) -> str:
        """Return the secret that only the tasks of a job have."""
        return self._secrets.token(job_id)

    def purge_expired(self) -> None:
        """Forget the jobs that ended longer ago than their time to live, with all that is theirs."""
        self._secrets.expire(time.time())

    def volumes(self) -> tuple[Volume, ...]:
        """Return the places for data that the cluster knows, by name."""
        return self._volumes.all()

    def put_volume(self, place: Volume) -> None:
        """Keep a place; every host that is ready offers its directory from now on."""
        self._volumes.put(place, [node.id for node in self.nodes() if node.status == "ready"])

    def remove_volume(self, name: str) -> None:
        """Forget a place; the data stays where it is."""
        self._volumes.remove(name)

    def _servers(self) -> dict[str, str]:
        """Return the status of each server by its address."""
        peers = call(self._client.operator.get_configuration)["Servers"]
        voters = {peer["Address"].rpartition(":")[0] for peer in peers if peer["Voter"]}
        members = call(self._client.agent.get_members)["Members"]
        return {
            each["Addr"]: nodes.read_server_status(each["Status"], votes=each["Addr"] in voters) for each in members
        }

    def _native(self, job: NativeJob) -> dict[str, Any]:
        """Return a job as JSON, its id checked."""
        if not job.hcl:
            return job.objects[0]
        try:
            parsed: dict[str, Any] = call(lambda: self._client.jobs.parse(job.hcl))
        except api_client.MalformedError as error:
            raise UsageError(f"{job.source}: {error}") from error
        check_nomad(parsed, job.source)
        return parsed

    def _outputs(self, job_id: str, *, ours: bool) -> list[tuple[str, str]]:
        """Return allocation and task of those whose output is the job's."""
        allocations = self._allocations(job_id)
        return (
            status.find_outputs(self._found(job_id) or {}, allocations)
            if ours
            else list(native.find_outputs(allocations))
        )

    def _found(self, job_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = call(lambda: self._client.job.get_job(job_id))
        except NotFoundError:
            return None
        return found

    def _status(self, job_id: str) -> JobStatus | None:
        job = self._found(job_id)
        if job is None:
            return None
        known = call(lambda: self._client.job.get_evaluations(job_id))
        evaluations = [each for each in known if each["CreateIndex"] >= job["CreateIndex"]]
        describe = status.job_status if DIGEST in (job["Meta"] or {}) else native.native_status
        return describe(job, self._allocations(job_id), evaluations, time.time())

    def _allocations(self, job_id: str) -> list[dict[str, Any]]:
        # Not those of a job of the same id that was forgotten before.
        found: list[dict[str, Any]] = call(lambda: self._client.job.get_allocations(job_id))
        return found

    def _services(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api_client.RawRequests("service", self._client).ask("get", name)
        return found


def _missing_node(allocation: Mapping[str, Any]) -> Node:
    """Return the host of an allocation that Nomad does not know any more."""
    return Node(allocation["NodeName"], "", (), "missing", id=allocation["NodeID"])
