"""The API of Kubernetes, by the `kubernetes` client; see `access.py` for how it is reached."""

from __future__ import annotations

import datetime
import secrets as random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import urllib3
from kubernetes import client

from cloudmesh.cluster import placement
from cloudmesh.cluster.api import Accepted, Chunk, Submission
from cloudmesh.cluster.errors import ApiError, ClusterError, NotFoundError
from cloudmesh.cluster.jobs.model import Job
from cloudmesh.cluster.jobs.native import NativeJob
from cloudmesh.cluster.kubernetes import access, jobs, logs, native, nodes, status, tokens
from cloudmesh.cluster.kubernetes.access import asked, patiently
from cloudmesh.cluster.kubernetes.manifests import JOBS_NAMESPACE
from cloudmesh.cluster.model import JobStatus, Node

if TYPE_CHECKING:
    from cloudmesh.cluster.blueprint import Secrets
    from cloudmesh.cluster.hosts.ssh import Connection

_POLL_SECONDS = 0.4
_SECRET_BYTES = 32
_CHUNK = 1 << 16
_TOKEN_LIFETIME = datetime.timedelta(minutes=10)


@contextmanager
def connected(server: Connection, secrets: Secrets) -> Iterator[KubernetesApi]:
    """Yield the API of the cluster that `server` belongs to, reached through SSH."""
    with access.opened(server, secrets) as found:
        yield KubernetesApi(found)


class KubernetesApi:
    """See `cloudmesh.cluster.api.Api`."""

    def __init__(self, its: client.ApiClient) -> None:
        self._its = its
        self._core = client.CoreV1Api(its)
        self._batch = client.BatchV1Api(its)

    @contextmanager
    def invitation(self) -> Iterator[str]:
        """Yield a token that lets hosts in: ten minutes at most, and no longer than the block."""
        token = tokens.new()
        body = tokens.secret(token, datetime.datetime.now(datetime.timezone.utc) + _TOKEN_LIFETIME)
        asked(self._core.create_namespaced_secret, tokens.NAMESPACE, body)
        try:
            yield token
        finally:
            with suppress(NotFoundError):
                asked(self._core.delete_namespaced_secret, body["metadata"]["name"], tokens.NAMESPACE)

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that Kubernetes knows, with what its jobs leave free."""
        found = asked(self._core.list_node)["items"]
        pods = self._pods_of_all("status.phase!=Succeeded,status.phase!=Failed")
        return tuple(sorted((nodes.node(each, pods) for each in found), key=lambda node: node.name))

    def drain(self, node: Node, seconds: float) -> None:
        """Move executors away from `node`, and wait for the drivers on it, which can go nowhere else."""
        self._cordon(node, True)
        deadline = time.monotonic() + seconds
        while busy := self._jobs_on(node):
            for pod in busy:
                if status.moves(pod):
                    self._evict(pod["metadata"]["name"])
            if time.monotonic() > deadline:
                self._cordon(node, False)
                raise ApiError(f"jobs are still on it after {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)

    def forget(self, node: Node) -> None:
        """Strike `node` off the list."""
        with suppress(NotFoundError):
            asked(self._core.delete_node, node.id)

    def specification(self, submission: Submission[Job]) -> Mapping[str, Any]:
        """Return the Job."""
        return jobs.spark_job(submission)

    def obstacle(self, submission: Submission[Job]) -> str:
        """Return why no host could ever take a part of the job."""
        return placement.obstacle(*placement.asks(submission.job), [node for node in self.nodes() if node.cores])

    def submit(self, submission: Submission[Job]) -> None:
        """Run the job once: a Job of the same name is never replaced."""
        found = self._found(submission.id)
        if found is None:
            found = self._created(submission)
        if found["metadata"].get("annotations", {}).get(jobs.DIGEST) != submission.digest:
            raise ClusterError(f"job {submission.id} exists with another content: choose another --id")
        self._hand_over_secret(found)

    def run_native(self, job: NativeJob) -> Iterator[Accepted]:
        """Apply the objects in their order."""
        for thing in job.objects:
            native.applied(self._its, thing)
            yield Accepted(native.title(thing), thing["metadata"]["name"] if native.is_followed(thing) else "")

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return the objects as the API server would have them."""
        items = [native.applied(self._its, thing, dry=True) for thing in job.objects]
        return {"apiVersion": "v1", "kind": "List", "items": items}

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job in our namespace that Kubernetes still knows, the newest first."""
        found = asked(self._batch.list_namespaced_job, JOBS_NAMESPACE)["items"]
        pods = asked(self._core.list_namespaced_pod, JOBS_NAMESPACE)["items"]
        told = [
            status.job(each, [pod for pod in pods if status.job_of(pod) == each["metadata"]["name"]], time.time())
            for each in found
        ]
        return tuple(sorted(told, key=lambda job: job.submitted, reverse=True))

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""
        found = self._found(job_id)
        if found is None:
            raise NotFoundError(f"no job {job_id}: `cms cluster jobs` lists those there are")
        return status.job(found, self._pods(job_id), time.time())

    def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        """Yield the output of driver or pods; with `follow`, until they end, and that of those that are tried next."""
        told: set[str] = set()
        while True:
            current = patiently(lambda: self.job(job_id))
            for pod in filter(status.has_started, status.drivers(patiently(partial(self._pods, job_id)))):
                name = pod["metadata"]["name"]
                if name not in told:
                    told.add(name)
                    output = _Output(self._core, name)
                    yield from logs.followed(output) if follow else logs.written(output)
            if current.state.ended or not follow:
                return
            time.sleep(_POLL_SECONDS)

    def stop(self, job_id: str) -> None:
        """End the job and all its tasks: its time is over, by which it is still told and later forgotten."""
        if self.job(job_id).state.ended:
            selector = f"{jobs.JOB}={job_id},{jobs.ROLE}={jobs.EXECUTOR}"
            asked(self._core.delete_collection_namespaced_pod, JOBS_NAMESPACE, label_selector=selector)
        else:
            body = {"metadata": {"annotations": {jobs.STOPPED: "true"}}, "spec": {"activeDeadlineSeconds": 1}}
            asked(self._batch.patch_namespaced_job, job_id, JOBS_NAMESPACE, body)

    def _created(self, submission: Submission[Job]) -> dict[str, Any]:
        body = jobs.secret(submission.id, random.token_urlsafe(_SECRET_BYTES))
        with suppress(access.ConflictError):
            asked(self._core.create_namespaced_secret, JOBS_NAMESPACE, body)
        try:
            made: dict[str, Any] = asked(
                self._batch.create_namespaced_job, JOBS_NAMESPACE, jobs.spark_job(submission), field_validation="Strict"
            )
        except ApiError:
            # The answer may have been lost after the job was taken, or another was quicker.
            found = self._found(submission.id)
            if found is None:
                raise
            return found
        return made

    def _hand_over_secret(self, job: Mapping[str, Any]) -> None:
        """Let the job's secret go when the job goes."""
        its = job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": its["name"], "uid": its["uid"]}
        body = {"metadata": {"ownerReferences": [owner]}}
        with suppress(NotFoundError):
            asked(self._core.patch_namespaced_secret, jobs.secret_name(its["name"]), JOBS_NAMESPACE, body)

    def _found(self, job_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = asked(self._batch.read_namespaced_job, job_id, JOBS_NAMESPACE)
        except NotFoundError:
            return None
        return found

    def _pods(self, job_id: str) -> list[dict[str, Any]]:
        # A native job's pods have the label that Kubernetes gives them, a driver's have both.
        for label in (jobs.JOB, status.NATIVE_JOB):
            found: list[dict[str, Any]] = asked(
                self._core.list_namespaced_pod, JOBS_NAMESPACE, label_selector=f"{label}={job_id}"
            )["items"]
            if found:
                return found
        return []

    def _pods_of_all(self, fields: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = asked(self._core.list_pod_for_all_namespaces, field_selector=fields)["items"]
        return found

    def _jobs_on(self, node: Node) -> list[dict[str, Any]]:
        pods = self._pods_of_all(f"spec.nodeName={node.id},status.phase!=Succeeded,status.phase!=Failed")
        return [pod for pod in pods if pod["metadata"]["namespace"] == JOBS_NAMESPACE and not status.stays(pod)]

    def _cordon(self, node: Node, cordoned: bool) -> None:
        asked(self._core.patch_node, node.id, {"spec": {"unschedulable": cordoned}})

    def _evict(self, pod: str) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        with suppress(NotFoundError):
            asked(self._core.create_namespaced_pod_eviction, pod, JOBS_NAMESPACE, body)


class _Output:
    """The output of a driver; see `logs.Source`."""

    def __init__(self, core: client.CoreV1Api, pod: str) -> None:
        self._core = core
        self._pod = pod

    def has_ended(self) -> bool:
        """Return whether the driver writes no more."""
        return status.has_ended(patiently(lambda: asked(self._core.read_namespaced_pod, self._pod, JOBS_NAMESPACE)))

    def read(self, stream: str, *, follow: bool, since_seconds: int | None) -> Iterable[bytes]:
        """Yield pieces of a stream until it ends or breaks off."""
        options = {"since_seconds": since_seconds} if since_seconds else {}
        response = patiently(
            lambda: access.streamed(
                self._core.read_namespaced_pod_log,
                self._pod,
                JOBS_NAMESPACE,
                follow=follow,
                stream=stream.capitalize(),
                timestamps=True,
                **options,
            )
        )
        try:
            yield from response.stream(_CHUNK)
        except urllib3.exceptions.HTTPError as error:
            raise logs.BrokenOffError(f"Kubernetes: the output of {self._pod} broke off") from error
        finally:
            response.close()
