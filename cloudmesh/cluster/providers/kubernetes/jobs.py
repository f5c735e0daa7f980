"""The jobs of a cluster through the API of Kubernetes: their status, their output, and how they are stopped.

A job has a root Job, a Kubernetes Job of the same name. If its tasks are of several groups, each further group has an
additional Job that the root Job owns.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import NotFoundError
from cloudmesh.cluster.core.model import JobStatus
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.base import Chunk, Leftover
from cloudmesh.cluster.providers.cluster_time import ClusterClock
from cloudmesh.cluster.providers.kubernetes import pod_spec, pod_status, requests, status
from cloudmesh.cluster.providers.kubernetes.api_client import call, call_with_retry, list_all
from cloudmesh.cluster.providers.kubernetes.host_faults import HostFaults
from cloudmesh.cluster.providers.kubernetes.logs import JobOutput, list_deleted_pods
from cloudmesh.cluster.providers.kubernetes.pod_spec import EXECUTOR
from cloudmesh.cluster.providers.kubernetes.status import TaskPlacement

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


# Field selector of the pods that have not ended.
UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
_Objects = list[dict[str, Any]]
_POLL_SECONDS = 0.4


class JobStore:
    """The jobs in our namespace.

    Args:
        client: the API client.
        clock: the cluster's.
    """

    def __init__(self, client: ApiClient, clock: ClusterClock) -> None:
        self._client = client
        self._clock = clock
        self._host_faults = HostFaults(client)

    def find(self, job_id: str) -> dict[str, Any] | None:
        """Return the root Job of a job; None if there is no such job."""
        try:
            job: dict[str, Any] = call(self._client, requests.JOBS.read(job_id))
        except NotFoundError:
            return None
        return None if status.is_additional(job) else job

    def read_root(self, job_id: str) -> dict[str, Any]:
        """Return the root Job of a job; NotFoundError if there is no such job."""
        root = self.find(job_id)
        if root is None:
            raise outcomes.no_such_job(job_id)
        return root

    def status(self, job_id: str) -> JobStatus:
        """Return the status of one job with its tasks; NotFoundError if there is no such job."""
        root, *additional = self._read_jobs(job_id)
        pods = self.list_pods(job_id)
        if not status.has_finished(root):
            self._host_faults.mark_silent(pods)
        return status.job_status(root, pods, self._clock.now(), additional)

    def all(self) -> tuple[JobStatus, ...]:
        """Return the status of every job, the newest first."""
        listed = list(self._list_jobs_with_pods())
        self._host_faults.mark_silent(pod for root, pods, _ in listed if not status.has_finished(root) for pod in pods)
        statuses = (status.job_status(root, pods, self._clock.now(), additional) for root, pods, additional in listed)
        return tuple(sorted(statuses, key=lambda job: job.submitted, reverse=True))

    def list_pods(self, job_id: str) -> _Objects:
        """Return the pods of a job."""
        # The pods of a native job have only the label that Kubernetes itself sets; those of other jobs have both.
        for label in (pod_spec.JOB, pod_status.NATIVE_JOB):
            pods: _Objects = list_all(self._client, requests.PODS.list(labels=f"{label}={job_id}"))
            if pods:
                return pods
        return []

    def read_output(
        self, job_id: str, follow: bool, where: Callable[[str], bool], list_up: Callable[[], Collection[str]]
    ) -> Iterator[Chunk]:
        """Yield the output of the job's leading pods, see `status.leading_pods`; what cannot be had is told in a line.

        Args:
            job_id: the job.
            follow: go on until the job ends, also with pods that are started later.
            where: tells by the name of a node whether the pods there are read.
            list_up: returns the names of the nodes that are not down.
        """
        output = JobOutput(self._client, job_id, where, list_up)
        while True:
            # Whether they have ended is asked before they are read, so that what was written until then is read.
            root, *additional = call_with_retry(lambda: self._read_jobs(job_id))
            pods = call_with_retry(lambda: self.list_pods(job_id))
            is_over = status.job_status(root, pods, self._clock.now(), additional).state.ended
            is_last = not output.must_wait(pods) if is_over else not follow
            yield from output.read_new(pods, is_last=is_last)
            if is_last and is_over:
                yield from output.read_deleted(root, pods)
            if is_last:
                return
            time.sleep(_POLL_SECONDS)

    def stop(self, job_id: str, why_hopeless: str = "") -> None:
        """End a job and all its tasks; of a job that has ended, end what is left. NotFoundError: there is no such job.

        The Jobs get a time limit that has passed already: they stay listed until their time to live is over.

        Args:
            job_id: the job.
            why_hopeless: why the job could never begin; empty: it has begun, or the user stops it.
        """
        jobs = self._read_jobs(job_id)
        has_ended = self.status(job_id).state.ended
        annotations = {pod_spec.HOPELESS: why_hopeless} if why_hopeless else {}
        self._stop(jobs, self.list_pods(job_id) if not all(map(status.has_finished, jobs)) else [], annotations)
        if has_ended:
            selector = f"{pod_spec.JOB}={job_id},{pod_spec.ROLE}={EXECUTOR}"
            call(self._client, requests.PODS.delete_all(labels=selector, fields=UNFINISHED))
            self._delete_secret_variables(job_id)

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the jobs that have ended and have tasks or secrets left, and those that can never begin."""
        ended: dict[str, bool] = {}  # whether all Jobs of a job have finished, by the job's id
        for root, pods, additional in self._list_jobs_with_pods():
            now = self._clock.now()
            if status.job_status(root, pods, now, additional).state.ended:
                ended[root["metadata"]["name"]] = all(map(status.has_finished, [root, *additional]))
            elif why := status.why_hopeless(root, pods, now):
                yield Leftover(root["metadata"]["name"], why)
        with_secrets = self._list_jobs_with_secret_variables() if ended else ()
        for job_id, has_finished in ended.items():
            if not has_finished or job_id in with_secrets:
                yield Leftover(job_id)

    def task_placements(self, job_id: str, *, leading: bool = False) -> list[TaskPlacement]:
        """Return where the tasks of a job run or ran; with `leading`, of those only whose output is the job's."""
        root = self.read_root(job_id)
        placements = status.task_placements(root, self.list_pods(job_id))
        return [placement for placement in placements if not leading or status.is_leading_task(root, placement.task)]

    def keep_placements(self, *nodes: str) -> None:
        """Store in each job that has pods on these nodes where its tasks ran, as these pods will be deleted."""
        for root, pods, _ in self._list_jobs_with_pods():
            if any(pod["spec"].get("nodeName") in nodes and pod_status.has_started(pod) for pod in pods):
                self._patch(root, _build_placed(root, pods))

    def note_deleted(self, node: str) -> None:
        """Store in each job what ran on a node of pods that Kubernetes has deleted, as when another task failed."""
        for root, pods, _ in self._list_jobs_with_pods():
            if status.has_finished(root) and not status.has_all_leading_pods(root, pods):
                deleted = list_deleted_pods(self._client, node, root, pods)
                placed = [
                    TaskPlacement(pod.name, pod.task, node, pod_status.format_time(pod.started)) for pod in deleted
                ]
                self._patch(root, _build_placed(root, pods, deleted=placed))

    def has_failed(self, job_id: str) -> bool:
        """Return whether one of the Jobs of a job has ended without being complete."""
        return any(status.has_finished(job) and not status.is_complete(job) for job in self._read_jobs(job_id))

    def _stop(self, jobs: Sequence[Mapping[str, Any]], pods: _Objects, annotations: Mapping[str, str]) -> None:
        """End those Jobs of a job that have not finished.

        Args:
            jobs: the Jobs of the job, its root Job first.
            pods: the pods of the job.
            annotations: more annotations for the root Job.
        """
        root = jobs[0]
        unfinished = [job for job in jobs if not status.has_finished(job)]
        if unfinished:
            # Kubernetes deletes the pods. Where they ran is stored before, as they may have left results there.
            self._patch(root, _build_placed(root, pods, annotations))
        for job in unfinished:
            spec = {"suspend": False, "activeDeadlineSeconds": 1}
            self._patch(job, {"metadata": {"annotations": {pod_spec.STOPPED: "true"}}, "spec": spec})

    def _list_jobs_with_secret_variables(self) -> set[str]:
        """Return the ids of the jobs that have a Secret with environment variables."""
        job_ids = set()
        for secret in list_all(self._client, requests.SECRETS.list(labels=pod_spec.JOB)):
            job_id = pod_status.label(secret, pod_spec.JOB)
            if secret["metadata"]["name"] == pod_spec.variables_secret_name(job_id):
                job_ids.add(job_id)
        return job_ids

    def _delete_secret_variables(self, job_id: str) -> None:
        with suppress(NotFoundError):
            call(self._client, requests.SECRETS.delete(pod_spec.variables_secret_name(job_id)))

    def _patch(self, job: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        call(self._client, requests.JOBS.patch(job["metadata"]["name"], changes))

    def _read_jobs(self, job_id: str) -> _Objects:
        """Return the Jobs of a job, its root Job first; NotFoundError if there is no such job."""
        root = self.read_root(job_id)
        if not pod_status.label(root, pod_spec.PART):
            return [root]
        jobs = list_all(self._client, requests.JOBS.list(labels=f"{pod_spec.JOB}={job_id}"))
        return [root, *filter(status.is_additional, jobs)]

    def _list_jobs_with_pods(self) -> Iterator[tuple[dict[str, Any], _Objects, _Objects]]:
        """Yield for each job its root Job, its pods, and its additional Jobs."""
        jobs = list_all(self._client, requests.JOBS.list())
        pods = _group_by_job(list_all(self._client, requests.PODS.list()))
        additional = _group_by_job(filter(status.is_additional, jobs))
        for job in jobs:
            if not status.is_additional(job):
                name = job["metadata"]["name"]
                yield job, pods[name], additional[name]


def _build_placed(
    root: Mapping[str, Any],
    pods: _Objects,
    annotations: Mapping[str, str] | None = None,
    deleted: Iterable[TaskPlacement] = (),
) -> dict[str, Any]:
    """Return the patch of a root Job that stores where the job's tasks ran, and more annotations."""
    placed = json.dumps(status.task_placements(root, pods, deleted))
    return {"metadata": {"annotations": {pod_spec.PLACED: placed, **(annotations or {})}}}


def _group_by_job(objects: Iterable[dict[str, Any]]) -> defaultdict[str, _Objects]:
    groups: defaultdict[str, _Objects] = defaultdict(list)
    for kubernetes_object in objects:
        groups[pod_status.job_of(kubernetes_object)].append(kubernetes_object)
    return groups
