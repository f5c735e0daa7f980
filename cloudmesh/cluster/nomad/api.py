"""Nomad's REST API, by python-nomad; see `access.py` for how it is reached."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster import names, placement
from cloudmesh.cluster.api import Accepted, Chunk, Results, Submission, is_spark
from cloudmesh.cluster.errors import ApiError, ClusterError, NotFoundError, UsageError
from cloudmesh.cluster.jobs import layout
from cloudmesh.cluster.jobs.model import Job
from cloudmesh.cluster.jobs.native import NativeJob, check_nomad
from cloudmesh.cluster.model import JobStatus, Node, Place
from cloudmesh.cluster.nomad import access, config, drain, gang, jobs, native, nodes, status
from cloudmesh.cluster.nomad.access import asked, patiently
from cloudmesh.cluster.nomad.output import Output
from cloudmesh.cluster.nomad.places import Places
from cloudmesh.cluster.nomad.tasks import DIGEST, RESULTS
from cloudmesh.cluster.nomad.tenure import Tenure

if TYPE_CHECKING:
    import nomad

    from cloudmesh.cluster.hosts.ssh import Connection

_POLL_SECONDS = 0.4


@contextmanager
def connected(server: Connection, token: str) -> Iterator[NomadApi]:
    """Yield the API of the cluster that `server` belongs to, reached through SSH."""
    with access.opened(server, token) as client:
        yield NomadApi(client)


class NomadApi:
    """See `cloudmesh.cluster.api.Api`."""

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._places = Places(client)
        self._tenure = Tenure(client)

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that Nomad knows, with what its jobs leave free."""
        stubs = asked(lambda: self._client.nodes.get_nodes(resources=True))
        running = asked(lambda: self._client.allocations.get_allocations(resources=True, task_states=False))
        servers = self._servers()
        full = [asked(partial(self._client.node.get_node, stub["ID"])) for stub in stubs]
        return tuple(sorted((nodes.node(each, running, servers) for each in full), key=lambda node: node.name))

    def drain(self, node: Node, seconds: float) -> None:
        """Send `node` no more jobs, move away what can move, and wait for the rest to end."""
        drain.drain(self._client, node, seconds)

    def forget(self, node: Node) -> None:
        """Strike `node` off Nomad's list, with its volumes."""
        self._places.forget(node.id)
        asked(lambda: self._client.node.purge_node(node.id))

    def specification(self, submission: Submission[Job]) -> Mapping[str, Any]:
        """Return the Nomad job."""
        return {"Job": jobs.spark_job(submission) if is_spark(submission) else gang.job(submission)}

    def obstacle(self, submission: Submission[Job]) -> str:
        """Return why no host could ever take a part of the job."""
        there = [node for node in self.nodes() if node.cores]
        if is_spark(submission):
            return placement.obstacle(*jobs.asks(submission.job), there)
        return placement.crowded(layout.of(submission.job, submission.hosts), there)

    def submit(self, submission: Submission[Job]) -> None:
        """Run the job once: the register call refuses to replace a job that is there."""
        found = self._found(submission.id)
        if found is None:
            self._tenure.grant(submission)
            body = {**self.specification(submission), "EnforceIndex": True, "JobModifyIndex": 0}
            try:
                asked(lambda: self._client.job.register_job(submission.id, body))
                return
            except ApiError:
                # The answer may have been lost after the job was taken, or another was quicker.
                found = self._found(submission.id)
                if found is None:
                    self._tenure.revoke(submission.id)
                    raise
        if (found["Meta"] or {}).get(DIGEST) != submission.digest:
            raise ClusterError(f"job {submission.id} exists with another content: choose another --id")

    def run_native(self, job: NativeJob) -> Iterator[Accepted]:
        """Register the job, as `nomad job run` does; one of the same id is replaced, unless it is a job file's."""
        specification = self._native(job)
        job_id = specification["ID"]
        found = self._found(job_id)
        if found and DIGEST in (found["Meta"] or {}):
            raise ClusterError(f"job {job_id} exists, and was made of a job file: choose another ID")
        asked(lambda: self._client.job.register_job(job_id, {"Job": specification}))
        yield Accepted(job_id, job_id if native.has_an_end(self._found(job_id) or {}) else "")

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return the job, and what Nomad plans to do with it."""
        specification = self._native(job)
        plan = asked(lambda: self._client.job.plan_job(specification["ID"], {"Job": specification}, diff=True))
        return {"Job": specification, "Plan": plan}

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that Nomad still knows, the newest first; not the runs that it makes of a job by itself."""
        ids = [stub["ID"] for stub in asked(self._client.jobs.get_jobs)]
        # An id that is none of ours would mean something else in a URL.
        found = [self._status(job_id) for job_id in ids if names.is_label(job_id)]
        return tuple(sorted((job for job in found if job), key=lambda job: job.submitted, reverse=True))

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""
        found = self._status(job_id)
        if found is None:
            raise NotFoundError(f"no job {job_id}: `cms cluster jobs` lists those there are")
        return found

    def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        """Yield the job's output; with `follow`, until it ends. It is polled, so a leader change costs nothing."""
        output = Output(self._client)
        while True:
            current = patiently(lambda: self.job(job_id))
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
            raise NotFoundError(f"no job {job_id}: `cms cluster jobs` lists those there are")
        ended_by_itself = found["Status"] == "dead" and DIGEST not in (found["Meta"] or {})
        if not found["Stop"] and not ended_by_itself:
            asked(lambda: self._client.job.deregister_job(job_id, purge=False))
        if DIGEST in (found["Meta"] or {}):
            self._tenure.revoke(job_id)

    def results(self, job_id: str) -> tuple[Results, ...]:
        """Return the directories that the tasks' allocations share with their hosts."""
        self.job(job_id)
        there = {node.id: node for node in self.nodes()}
        return tuple(
            Results(name, there.get(each["NodeID"]) or _gone(each), f"{config.ALLOCATIONS}/{each['ID']}/{RESULTS}")
            for name, each in status.started(self._allocations(job_id))
        )

    def address(self, job_id: str, port: str) -> str:
        """Return where the first task of the job's first part listens, as Nomad's service of that port says."""
        full = self._found(job_id)
        if full is None:
            raise NotFoundError(f"no job {job_id}: `cms cluster jobs` lists those there are")
        wanted = f"{full['TaskGroups'][0]['Tasks'][0]['Name']} 0 {port}"
        for each in self._services(gang.service(job_id)):
            if wanted in each["Tags"]:
                return f"{each['Address']}:{each['Port']}"
        raise ApiError(f"job {job_id} has no port {port} now: it does not run, or it has none of that name")

    def secret(self, job_id: str) -> str:
        """Return the secret that only the tasks of a job have."""
        return self._tenure.token(job_id)

    def expire(self) -> None:
        """Forget the jobs that ended longer ago than their time to live, with all that is theirs."""
        self._tenure.expire(time.time())

    def places(self) -> tuple[Place, ...]:
        """Return the places for data that the cluster knows, by name."""
        return self._places.all()

    def put_place(self, place: Place) -> None:
        """Keep a place; every host that is ready offers its directory from now on."""
        self._places.put(place, [node.id for node in self.nodes() if node.status == "ready"])

    def remove_place(self, name: str) -> None:
        """Forget a place; the data stays where it is."""
        self._places.remove(name)

    def _servers(self) -> dict[str, str]:
        """Return the status of each server by its address."""
        peers = asked(self._client.operator.get_configuration)["Servers"]
        voters = {peer["Address"].rpartition(":")[0] for peer in peers if peer["Voter"]}
        members = asked(self._client.agent.get_members)["Members"]
        return {each["Addr"]: nodes.server(each["Status"], votes=each["Addr"] in voters) for each in members}

    def _native(self, job: NativeJob) -> dict[str, Any]:
        """Return a job as JSON, its id checked."""
        if not job.hcl:
            return job.objects[0]
        try:
            parsed: dict[str, Any] = asked(lambda: self._client.jobs.parse(job.hcl))
        except access.MalformedError as error:
            raise UsageError(f"{job.source}: {error}") from error
        check_nomad(parsed, job.source)
        return parsed

    def _outputs(self, job_id: str, *, ours: bool) -> list[tuple[str, str]]:
        """Return allocation and task of those whose output is the job's."""
        allocations = self._allocations(job_id)
        return status.outputs(self._found(job_id) or {}, allocations) if ours else list(native.outputs(allocations))

    def _found(self, job_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = asked(lambda: self._client.job.get_job(job_id))
        except NotFoundError:
            return None
        return found

    def _status(self, job_id: str) -> JobStatus | None:
        job = self._found(job_id)
        if job is None:
            return None
        known = asked(lambda: self._client.job.get_evaluations(job_id))
        evaluations = [each for each in known if each["CreateIndex"] >= job["CreateIndex"]]
        describe = status.job if DIGEST in (job["Meta"] or {}) else native.job
        return describe(job, self._allocations(job_id), evaluations, time.time())

    def _allocations(self, job_id: str) -> list[dict[str, Any]]:
        # Not those of a job of the same id that was forgotten before.
        found: list[dict[str, Any]] = asked(lambda: self._client.job.get_allocations(job_id))
        return found

    def _services(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = access.Requests("service", self._client).ask("get", name)
        return found


def _gone(allocation: Mapping[str, Any]) -> Node:
    """Return the host of an allocation that Nomad does not know any more."""
    return Node(allocation["NodeName"], "", (), "missing", id=allocation["NodeID"])
