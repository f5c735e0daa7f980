"""NomadEngine: what a cluster's Nomad can be asked; see `api_client.py` for how its API is reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError, UsageError
from cloudmesh.cluster.core.model import JobStatus, Node, Volume
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.base import (
    Chunk,
    Leftover,
    NativeSubmission,
    ResultLocation,
    Snapshot,
    Submission,
    TaskHost,
    is_spark,
    missing_node,
)
from cloudmesh.cluster.providers.cluster_time import ClusterClock
from cloudmesh.cluster.providers.nomad import (
    api_client,
    bootstrap,
    job_list,
    native,
    nodes,
    placement,
    spark_job,
    status,
    task_group_job,
)
from cloudmesh.cluster.providers.nomad.api_client import call, call_with_retry
from cloudmesh.cluster.providers.nomad.host_faults import HostFaults
from cloudmesh.cluster.providers.nomad.job_spec import DIGEST, RESULTS
from cloudmesh.cluster.providers.nomad.logs import TaskOutput
from cloudmesh.cluster.providers.nomad.secrets import JobSecrets
from cloudmesh.cluster.providers.nomad.volumes import VolumeStore
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob, check_nomad

if TYPE_CHECKING:
    import nomad

    from cloudmesh.cluster.ssh.connection import Connection


_POLL_SECONDS, _CHECK_SECONDS = 0.4, 5.0


@contextmanager
def open_engine(server: Connection, token: str) -> Iterator[NomadEngine]:
    """Yield the engine of the cluster that `server` belongs to, reached through SSH."""
    with api_client.open_client(server, token) as client:
        yield NomadEngine(client)


class NomadEngine:
    """Nomad's part of `providers.base.Engine`, which says what each method does."""

    spark_overhead_mb = spark_job.DAEMON_MB

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._volumes = VolumeStore(client)
        self._secrets = JobSecrets(client)
        self._clock = ClusterClock(lambda: api_client.read_time(client))
        self._faults = HostFaults(client, self._clock.now)
        self._operator_names: dict[str, str] = {}  # what the operator calls each host, by its node's id

    def check(self) -> None:
        """Ask what only a server with a leader can say."""
        call(
            lambda: self._client.nodes.request(params={"per_page": 1}, method="get", timeout=_CHECK_SECONDS), attempts=1
        )

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that Nomad has, with what its jobs leave free, sorted by name."""
        node_summaries = call(lambda: self._client.nodes.get_nodes(resources=True))
        allocations = call(lambda: self._client.allocations.get_allocations(resources=True, task_states=False))
        servers = self._read_servers()
        self._faults.ask(summary["ID"] for summary in node_summaries if summary["Status"] == "ready")
        details = [call(partial(self._client.node.get_node, summary["ID"])) for summary in node_summaries]
        unsorted = (nodes.read_node(node, allocations, servers) for node in details)
        return tuple(sorted(map(self._faults.mark_silent_node, unsorted), key=lambda node: node.name))

    def cordon(self, node: Node) -> None:
        """Send `node` no more jobs; those that run there stay."""
        nodes.cordon(self._client, node)

    def begin_drain(self, node: Node) -> None:
        """Send `node` no more jobs."""
        nodes.begin_drain(self._client, node)

    def move_jobs(self, node: Node) -> tuple[str, ...]:
        """Move away from `node` the tasks that can move; return the ids of the jobs that still run there."""
        return nodes.move_jobs(self._client, node)

    def end_drain(self, node: Node) -> None:
        """Let `node` take jobs again."""
        nodes.end_drain(self._client, node)

    def remove_server(self, node: Node) -> None:
        """Take a server out of those that vote, and out of the gossip; one that lives must be stopped soon after."""
        for peer in call(self._client.operator.get_configuration)["Servers"]:
            if peer["Address"].rpartition(":")[0] == node.address:
                request = self._client.operator.request
                call(partial(request, "raft", "peer", params={"id": peer["ID"]}, method="delete"))
        for member in call(self._client.agent.get_members)["Members"]:
            if member["Addr"] == node.address and member["Status"] == "failed":
                call(partial(self._client.agent.force_leave, member["Name"]))

    def remove_node(self, node: Node) -> None:
        """Remove `node` from Nomad's list, with its host volumes."""
        self._volumes.remove_node(node.id)
        call(lambda: self._client.node.purge_node(node.id))

    def specification(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        """Return the Nomad job."""
        return {"Job": spark_job.spark_job(submission) if is_spark(submission) else task_group_job.job(submission)}

    def submit(self, submission: Submission[JobSpec]) -> None:
        """Run the job; Nomad is told to refuse it where a job of its id is there already."""
        self._secrets.claim_id(submission, lambda: self._find_job(submission.id) is not None)
        body = {**self.specification(submission), "EnforceIndex": True, "JobModifyIndex": 0}
        try:
            call(lambda: self._client.job.register_job(submission.id, body))
        except api_client.MalformedError:
            self._secrets.delete_secrets(submission.id)
            raise
        self._secrets.store_secrets(submission)

    def resume(self, submission: Submission[JobSpec]) -> None:
        """See that the job has its secrets; one that has ended needs none."""
        if self._get_job(submission.id)["Status"] != "dead":
            self._secrets.store_secrets(submission)

    def run_native(self, job: NativeJob) -> Iterator[NativeSubmission]:
        """Register the job, as `nomad job run` does; it replaces another of its id.

        Raises:
            ClusterError: the job of its id was made of a job file, or no host could ever take it.
        """
        specification = self._parse_native(job)
        job_id = specification["ID"]
        present = self._find_job(job_id)
        if present and DIGEST in (present["Meta"] or {}):
            raise ClusterError(f"job {job_id} exists, and was made of a job file: choose another ID")
        if why := self._why_never_placed(specification):
            raise ClusterError(f"job {job_id} can never run on this cluster: {why}")
        call(lambda: self._client.job.register_job(job_id, {"Job": specification}))
        yield NativeSubmission(job_id, job_id if native.has_an_end(self._find_job(job_id) or {}) else "")

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return the job, and what Nomad plans to do with it."""
        specification = self._parse_native(job)
        plan = call(lambda: self._client.job.plan_job(specification["ID"], {"Job": specification}, diff=True))
        return {"Job": specification, "Plan": plan}

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that Nomad still has, the newest first; without those that Nomad derives from other jobs."""
        statuses = []
        all_listed = list(job_list.list_jobs(self._client))
        running = [entry for listed in all_listed for entry in listed.allocations if entry["ClientStatus"] == "running"]
        self._faults.ask(entry["NodeID"] for entry in running)
        for listed in all_listed:
            self._name_hosts(listed.allocations)
            self._faults.mark_restarted(listed.allocations)
            self._mark_silent(listed.job, listed.allocations)
            statuses.append(_read_status(*listed, self._clock.now()))
        return tuple(sorted(statuses, key=lambda job: job.submitted, reverse=True))

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks; NotFoundError where there is none."""
        job = self._find_status(job_id, ask_hosts=True)
        if job is None:
            raise outcomes.no_such_job(job_id)
        return job

    def logs(self, job_id: str, follow: bool, where: Callable[[str], bool] | None = None) -> Iterator[Chunk]:
        """Yield the job's output; with `follow`, until it ends. It is polled, so that a new leader cuts nothing off."""
        output = TaskOutput(self._client)
        while True:
            job = call_with_retry(lambda: self.job(job_id))
            sources = [
                source
                for source in self._find_outputs(job_id, from_job_file=bool(job.digest))
                if where is None or where(source.node_id)
            ]
            if job.state.ended:
                yield from output.read_rest(sources)
            else:
                yield from output.read_new(sources, is_last=not follow)
            if job.state.ended or not follow:
                return
            time.sleep(_POLL_SECONDS)

    def output_hosts(self, job_id: str) -> tuple[TaskHost, ...]:
        """Return the tasks whose output is the job's, with their nodes."""
        sources = self._find_outputs(job_id, from_job_file=bool(self.job(job_id).digest))
        ids = {allocation_id for allocation_id, *_ in sources}
        allocations = [allocation for allocation in self._list_allocations(job_id) if allocation["ID"] in ids]
        return tuple(
            TaskHost(task, self._find_node(allocation)) for task, allocation in status.find_started_tasks(allocations)
        )

    def stop(self, job_id: str, why_hopeless: str = "") -> None:
        """End the job and all its tasks; of a job that has ended, the workers that still run or wait."""
        job = self._get_job(job_id)
        # Nothing of a job that is dead runs or waits; to stop it would make "stopped" of one that failed.
        if not job["Stop"] and job["Status"] != "dead":
            call(lambda: self._client.job.deregister_job(job_id, purge=False))
        if DIGEST in (job["Meta"] or {}):
            self._secrets.delete_secrets(job_id)

    def results(self, job_id: str) -> tuple[ResultLocation, ...]:
        """Return the directories on the hosts into which the tasks wrote their results."""
        self.job(job_id)
        nodes_by_id = {node.id: node for node in self.nodes()}
        return tuple(
            ResultLocation(
                task,
                nodes_by_id.get(allocation["NodeID"]) or missing_node(allocation["NodeName"], allocation["NodeID"]),
                f"{bootstrap.ALLOCATIONS}/{allocation['ID']}/{RESULTS}",
            )
            for task, allocation in status.find_started_tasks(self._list_allocations(job_id))
        )

    def address(self, job_id: str, port: str) -> str:
        """Return where the first task of the job's first task group listens, from Nomad's service of that port.

        Raises:
            NotFoundError: there is no such job.
            ApiError: it does not run now, or has no such port.
        """
        job = self._get_job(job_id)
        tag = f"{job['TaskGroups'][0]['Tasks'][0]['Name']} 0 {port}"
        services = api_client.RawRequests("service", self._client)
        for service in services.ask("get", task_group_job.build_service_name(job_id)):
            if tag in service["Tags"]:
                return f"{service['Address']}:{service['Port']}"
        raise ApiError(f"job {job_id} has no port {port} now: it does not run, or it has none of that name")

    def secret(self, job_id: str) -> str:
        """Return the secret that only the tasks of a job have."""
        return self._secrets.read_token(job_id)

    def leftovers(self) -> tuple[Leftover, ...]:
        """Return the jobs whose first group has ended and whose others run, and ended jobs that have secrets."""
        return tuple(self._secrets.leftovers())

    def forget_expired(self) -> None:
        """Remove the jobs that ended longer ago than their time to live, with all that belongs to them."""
        self._secrets.forget_expired(self._clock.now())

    def snapshot(self) -> Snapshot:
        """Return the state of the servers; a node that is made anew there gets another id, and may have any name."""
        return api_client.read_snapshot(self._client)

    def volumes(self) -> tuple[Volume, ...]:
        """Return the volumes of the cluster, sorted by name."""
        return self._volumes.all()

    def put_volume(self, volume: Volume) -> None:
        """Store a volume; if it is a directory, every host that is ready offers it from now on."""
        self._volumes.put(volume, [node.id for node in self.nodes() if node.status == "ready"])

    def remove_volume(self, name: str) -> None:
        """Remove a volume; the data stays where it is."""
        self._volumes.remove(name)

    def _read_servers(self) -> dict[str, str]:
        """Return the status of each server by its address."""
        peers = call(self._client.operator.get_configuration)["Servers"]
        voters = {peer["Address"].rpartition(":")[0] for peer in peers if peer["Voter"]}
        members = call(self._client.agent.get_members)["Members"]
        return {
            member["Addr"]: nodes.read_server_status(member["Status"], is_voter=member["Addr"] in voters)
            for member in members
        }

    def _parse_native(self, job: NativeJob) -> dict[str, Any]:
        """Return a job as JSON, with its id checked; UsageError where Nomad does not understand its HCL."""
        if not job.hcl:
            return job.objects[0]
        try:
            specification: dict[str, Any] = call(lambda: self._client.jobs.parse(job.hcl))
        except api_client.MalformedError as error:
            raise UsageError(f"{job.source}: {error}") from error
        check_nomad(specification, job.source)
        return specification

    def _why_never_placed(self, specification: dict[str, Any]) -> str:
        plan = call(lambda: self._client.job.plan_job(specification["ID"], {"Job": specification}))
        return placement.why_never_placed(specification, plan, call(self._client.nodes.get_nodes), self.nodes())

    def _find_outputs(self, job_id: str, *, from_job_file: bool) -> list[status.OutputSource]:
        """Return the tasks whose output is the job's."""
        allocations = self._list_allocations(job_id)
        if from_job_file:
            return status.find_outputs(self._find_job(job_id) or {}, allocations)
        return list(native.find_outputs(allocations))

    def _find_job(self, job_id: str) -> dict[str, Any] | None:
        """Return Nomad's JSON of a job; None where there is no such job."""
        try:
            job: dict[str, Any] = call(lambda: self._client.job.get_job(job_id))
        except NotFoundError:
            return None
        return job

    def _get_job(self, job_id: str) -> dict[str, Any]:
        """Return Nomad's JSON of a job; NotFoundError where there is no such job."""
        job = self._find_job(job_id)
        if job is None:
            raise outcomes.no_such_job(job_id)
        return job

    def _find_status(self, job_id: str, *, ask_hosts: bool = False) -> JobStatus | None:
        """Return the status of a job; None where there is no such job.

        Args:
            job_id: of the job.
            ask_hosts: whether those of its leading tasks are asked if they are there.
        """
        job = self._find_job(job_id)
        if job is None:
            return None
        # Nomad also lists the evaluations of an earlier job of the same id.
        evaluations = [
            evaluation
            for evaluation in call(lambda: self._client.job.get_evaluations(job_id))
            if evaluation["CreateIndex"] >= job["CreateIndex"]
        ]
        allocations = self._list_allocations(job_id)
        self._faults.mark_restarted(allocations)
        if ask_hosts:
            self._mark_silent(job, allocations)
        return _read_status(job, allocations, evaluations, self._clock.now())

    def _mark_silent(self, job: Mapping[str, Any], allocations: Iterable[dict[str, Any]]) -> None:
        """Mark those of a job's first group, with which it ends, of which their hosts have said nothing lately."""
        leading = job["TaskGroups"][0]["Name"]
        self._faults.mark_silent(entry for entry in allocations if entry["TaskGroup"] == leading)

    def _list_allocations(self, job_id: str) -> list[dict[str, Any]]:
        # Nomad leaves out those of an earlier job of the same id.
        allocations: list[dict[str, Any]] = call(lambda: self._client.job.get_allocations(job_id))
        self._name_hosts(allocations)
        return allocations

    def _name_hosts(self, allocations: Sequence[dict[str, Any]]) -> None:
        """Have allocations tell their hosts as the operator calls them."""
        for allocation in allocations:
            allocation["NodeName"] = self._find_operator_name(allocation["NodeID"]) or allocation["NodeName"]

    def _find_node(self, allocation: Mapping[str, Any]) -> Node:
        """Return an allocation's node, with its status as it is now: Nomad misses a node only after some time."""
        node_id = allocation["NodeID"]
        try:
            node = call(lambda: self._client.node.get_node(node_id))
        except NotFoundError:
            return missing_node(allocation["NodeName"], allocation["NodeID"])
        node_status = nodes.read_status(node)
        if node_status == "ready" and not self._faults.answers(node_id):
            node_status = "down"
        return Node(nodes.operator_name(node), "", (), node_status, id=node_id, node=node["Name"])

    def _find_operator_name(self, node_id: str) -> str:
        """Return what the operator calls the host of a node; empty where Nomad does not have the node any more."""
        if node_id not in self._operator_names:
            try:
                node = call(lambda: self._client.node.get_node(node_id))
                self._operator_names[node_id] = nodes.operator_name(node)
            except NotFoundError:
                self._operator_names[node_id] = ""
        return self._operator_names[node_id]


def _read_status(
    job: Mapping[str, Any],
    allocations: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    now: float,
) -> JobStatus:
    read = status.job_status if DIGEST in (job["Meta"] or {}) else native.native_status
    return read(job, allocations, evaluations, now)
