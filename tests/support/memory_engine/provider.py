"""A third engine, small and in memory: what a provider must have, and nothing that needs a host or a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.model import JobStatus, Node, Role, State, TaskStatus, Volume
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.providers.base import (
    Chunk,
    Delivery,
    Engine,
    Leftover,
    NativeSubmission,
    Provider,
    ResultLocation,
    Snapshot,
    Submission,
    TaskHost,
)
from cloudmesh.cluster.providers.outcomes import STOPPED_ON_REQUEST, no_such_job
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob


@dataclass
class MemoryEngine:
    """An engine whose jobs end when they are asked for the second time; a job called "fails" fails.

    Attributes:
        workers: its nodes.
        submitted: the jobs that it took, by their ids.
        asked: how often each job was asked for.
        stopped: ids of the jobs that were ended.
        stored: its volumes by name.
    """

    workers: tuple[Node, ...] = (
        Node("one", "10.0.0.1", (Role.SERVER, Role.WORKER), "ready", 2, 2048, 2, 2048, id="n1"),
    )
    submitted: dict[str, Submission[JobSpec]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    stored: dict[str, Volume] = field(default_factory=dict)
    spark_overhead_mb = 0

    def check(self) -> None:
        pass

    def nodes(self) -> tuple[Node, ...]:
        return self.workers

    def cordon(self, node: Node) -> None:
        self._set_status(node, "drained")

    def begin_drain(self, node: Node) -> None:
        self._set_status(node, "drained")

    def move_jobs(self, node: Node) -> tuple[str, ...]:
        return tuple(job_id for job_id in self.submitted if job_id not in self.stopped)

    def end_drain(self, node: Node) -> None:
        self._set_status(node, "ready")

    def _set_status(self, node: Node, status: str) -> None:
        workers = self.workers
        self.workers = tuple(replace(worker, status=status) if worker.id == node.id else worker for worker in workers)

    def remove_server(self, node: Node) -> None:
        """Its servers decide nothing."""

    def remove_node(self, node: Node) -> None:
        self.workers = tuple(worker for worker in self.workers if worker.id != node.id)

    def specification(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        return {"id": submission.id, "image": submission.image}

    def submit(self, submission: Submission[JobSpec]) -> None:
        if submission.id in self.submitted:
            raise ApiError(f"there is a job {submission.id}")
        self.submitted[submission.id] = submission

    def resume(self, submission: Submission[JobSpec]) -> None:
        """Nothing is cut off here."""

    def run_native(self, job: NativeJob) -> Iterator[NativeSubmission]:
        yield NativeSubmission(job.source)

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        return {"source": job.source}

    def jobs(self) -> tuple[JobStatus, ...]:
        return tuple(map(self.job, self.submitted))

    def job(self, job_id: str) -> JobStatus:
        if job_id not in self.submitted:
            raise no_such_job(job_id)
        submission = self.submitted[job_id]
        times = self.asked[job_id] = self.asked.get(job_id, 0) + 1
        state, exit_code, reason = State.RUNNING, None, ""
        if times > 1:
            failed = submission.job.name == "fails"
            state, exit_code, reason = (State.FAILED, 3, "exit code 3") if failed else (State.SUCCEEDED, 0, "")
        elif job_id in self.stopped:
            state, reason = State.STOPPED, STOPPED_ON_REQUEST
        task = TaskStatus("task-0", "one", state, exit_code)
        volumes = submission.job.volumes
        return JobStatus(
            job_id, submission.job.name, state, time.time(), 0.0, exit_code, reason, submission.digest, volumes, (task,)
        )

    def logs(self, job_id: str, follow: bool, where: Callable[[str], bool] | None = None) -> Iterator[Chunk]:
        yield Chunk("stdout", f"output of {job_id}\n".encode())

    def output_hosts(self, job_id: str) -> tuple[TaskHost, ...]:
        return (TaskHost("task-0", self.workers[0]),)

    def stop(self, job_id: str, why_hopeless: str = "") -> None:
        self.stopped.add(job_id)

    def results(self, job_id: str) -> tuple[ResultLocation, ...]:
        return ()

    def address(self, job_id: str, port: str) -> str:
        return f"{job_id}:{port}"

    def secret(self, job_id: str) -> str:
        return f"secret of {job_id}"

    def leftovers(self) -> tuple[Leftover, ...]:
        return ()

    def forget_expired(self) -> None:
        """Nothing expires here."""

    def snapshot(self) -> Snapshot:
        return Snapshot(b"jobs", time.time(), tuple(worker.name for worker in self.workers))

    def volumes(self) -> tuple[Volume, ...]:
        return tuple(self.stored.values())

    def put_volume(self, volume: Volume) -> None:
        self.stored[volume.name] = volume

    def remove_volume(self, name: str) -> None:
        del self.stored[name]


class MemoryProvider(Provider):
    """Clusters in memory; all of them are one."""

    kind = "memory"
    endpoint = "memory"
    instance = MemoryEngine()

    def needs(self) -> Needs:
        return Needs(ports=(), memory_mb=1, disk_mb=1)

    def host_script(self) -> str:
        return "exit 0\n"

    def new_secrets(self) -> Mapping[str, str]:
        return {}

    def certificate_names(self, role: Role) -> Sequence[str]:
        return []

    def host_files(self, spec: ClusterSpec, plan: HostPlan, delivery: Delivery) -> Mapping[str, bytes]:
        return {}

    def server_list_files(self, spec: ClusterSpec, role: Role) -> Mapping[str, bytes]:
        return {}

    def open_engine(self, server: Any, secrets: ClusterSecrets) -> AbstractContextManager[Engine]:
        return nullcontext(self.instance)
