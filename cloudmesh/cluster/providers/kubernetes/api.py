"""The API of Kubernetes, by the `kubernetes` client; see `api_client.py` for how it is reached."""

from __future__ import annotations

import base64
import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError
from cloudmesh.cluster.core.model import JobStatus, Node, Volume
from cloudmesh.cluster.providers.base import Chunk, NativeSubmission, ResultLocation, Submission, is_spark
from cloudmesh.cluster.providers.kubernetes import (
    api_client,
    credentials,
    driver_admission,
    indexed_jobs,
    native,
    nodes,
    pod_spec,
    pod_status,
    requests,
)
from cloudmesh.cluster.providers.kubernetes.api_client import call
from cloudmesh.cluster.providers.kubernetes.jobs import UNFINISHED, JobStore
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOBS_NAMESPACE
from cloudmesh.cluster.providers.kubernetes.submit import JobObjects, without_secrets
from cloudmesh.cluster.providers.kubernetes.volumes import VolumeStore
from cloudmesh.cluster.spec import spark
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob

if TYPE_CHECKING:
    from kubernetes import client

    from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
    from cloudmesh.cluster.ssh.connection import Connection


_POLL_SECONDS = 0.4
_TOKEN_LIFETIME = datetime.timedelta(minutes=10)


@contextmanager
def open_engine(server: Connection, secrets: ClusterSecrets) -> Iterator[KubernetesEngine]:
    """Yield the API of the cluster that `server` belongs to, reached through SSH."""
    with api_client.open_client(server, secrets) as found:
        yield KubernetesEngine(found)


class KubernetesEngine:
    """Kubernetes' part of `providers.base.Engine`, which says what each method does."""

    spark_overhead_mb = 0

    def __init__(self, its: client.ApiClient) -> None:
        self._its = its
        self._jobs = JobStore(its)
        self._volumes = VolumeStore(its)
        self._names: dict[str, str] = {}

    @contextmanager
    def invitation(self) -> Iterator[str]:
        """Yield a token that lets hosts in: ten minutes at most, and no longer than the block."""
        token = credentials.generate_token()
        body = credentials.build_token_secret(token, datetime.datetime.now(datetime.timezone.utc) + _TOKEN_LIFETIME)
        secrets = requests.collection("v1", "secrets", credentials.BOOTSTRAP_NAMESPACE)
        call(self._its, secrets.create(body))
        try:
            yield token
        finally:
            with suppress(NotFoundError):
                call(self._its, secrets.delete(body["metadata"]["name"]))

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that Kubernetes knows, with what its jobs leave free."""
        return tuple(sorted(self._hosts(self._pods_of_all(UNFINISHED)), key=lambda node: node.name))

    def drain(self, node: Node, seconds: float) -> None:
        """Move executors away from `node`, and wait for the other tasks on it, which can go nowhere else."""
        self._cordon(node, True)
        deadline = time.monotonic() + seconds
        while busy := self._jobs_on(node):
            for pod in busy:
                if pod_status.is_replaceable(pod):
                    self._evict(pod["metadata"]["name"])
            if time.monotonic() > deadline:
                self._cordon(node, False)
                names = ", ".join(sorted({pod_status.job_of(pod) or pod["metadata"]["name"] for pod in busy}))
                raise ApiError(f"jobs are still on it after {seconds:.0f} s: {names}")
            time.sleep(_POLL_SECONDS)

    def remove_node(self, node: Node) -> None:
        """Strike `node` off the list."""
        with suppress(NotFoundError):
            call(self._its, requests.NODES.delete(node.id))

    def specification(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        """Return the objects of the job, without its secrets."""
        return without_secrets(submission)

    def submit(self, submission: Submission[JobSpec]) -> None:
        """Run the job once: a Job of the same name is never replaced."""
        found = self._jobs.find(submission.id)
        turn = driver_admission.ALONE if found else self._turn(submission)
        objects = JobObjects(self._its, submission, turn)
        found = found or self._begun(objects, submission.id)
        if pod_status.annotation(found, pod_spec.DIGEST) != submission.digest:
            raise ClusterError(f"job {submission.id} exists with another content: choose another --id")
        objects.completed(found)

    def run_native(self, job: NativeJob) -> Iterator[NativeSubmission]:
        """Apply the objects in their order."""
        for thing in job.objects:
            native.apply(self._its, thing)
            yield NativeSubmission(
                native.kubectl_name(thing), thing["metadata"]["name"] if native.can_be_followed(thing) else ""
            )

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return the objects as the API server would have them."""
        items = [native.apply(self._its, thing, dry=True) for thing in job.objects]
        return {"apiVersion": "v1", "kind": "List", "items": items}

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job in our namespace that Kubernetes still knows, the newest first."""
        return tuple(map(self._by_name, self._jobs.all()))

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""
        return self._by_name(self._jobs.told(job_id))

    def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        """Yield the output of driver or pods; with `follow`, until they end, and that of those that are tried next."""
        return self._jobs.output(job_id, follow)

    def stop(self, job_id: str) -> None:
        """End the job and all its tasks."""
        self._jobs.end(job_id)

    def results(self, job_id: str) -> tuple[ResultLocation, ...]:
        """Return where the tasks of a job have left their results: of each task, its last attempt."""
        known = {node.id: node for node in self.nodes()}
        every = pod_spec.HOST_RESULTS
        found = [
            ResultLocation(each.task, known[each.host], f"{every}/{pod_spec.results_path(job_id, each.task, each.pod)}")
            for each in self._jobs.placed(job_id)
            if each.host in known
        ]
        if self._jobs.has_failed(job_id):
            # Kubernetes has forgotten those of its tasks that still ran then.
            found += [ResultLocation("", node, f"{every}/{job_id}") for node in known.values() if node.cores]
        return tuple(found)

    def address(self, job_id: str, port: str) -> str:
        """Return by what name and number pods reach a port of the job's first task."""
        (container,) = self._jobs.first(job_id)["spec"]["template"]["spec"]["containers"]
        numbers = {each["name"]: each.get("value") for each in container.get("env", [])}
        number = numbers.get(indexed_jobs.port_variable(port))
        if not number:
            raise NotFoundError(f"job {job_id} has no port {port!a}")
        return f"{indexed_jobs.hostname(job_id, job_id, 0)}:{number}"

    def secret(self, job_id: str) -> str:
        """Return the secret that only the tasks of a job have."""
        found = call(self._its, requests.SECRETS.read(pod_spec.tasks_secret_name(job_id)))
        return base64.b64decode(found["data"][pod_spec.SECRET]).decode()

    def purge_expired(self) -> None:
        """End what still goes on of jobs that have ended, and jobs that can never begin.

        Kubernetes forgets those that have ended by itself when it is time.
        """
        self._jobs.end_leftovers()

    def volumes(self) -> tuple[Volume, ...]:
        """Return the places for data, by name."""
        return self._volumes.all()

    def put_volume(self, place: Volume) -> None:
        """Keep a place."""
        self._volumes.put(place)

    def remove_volume(self, name: str) -> None:
        """Forget a place that no job has mounted."""
        self._volumes.remove(name)

    def _turn(self, submission: Submission[JobSpec]) -> driver_admission.Admission:
        """Return when a new job may begin."""
        if not is_spark(submission):
            return driver_admission.ALONE
        living = self._pods_of_all(UNFINISHED)
        hosts = self._hosts([pod for pod in living if not pod_status.label(pod, pod_spec.ROLE)])
        known = driver_admission.find_unfinished_spark_jobs(call(self._its, requests.JOBS.list())["items"], living)
        return driver_admission.admit(
            *spark.spark_requests(submission.job), [host for host in hosts if host.status == "ready"], known
        )

    def _begun(self, objects: JobObjects, job_id: str) -> dict[str, Any]:
        try:
            return objects.begun()
        except ApiError:
            # The answer may have been lost after the job was taken, or another was quicker.
            found = self._jobs.find(job_id)
            if found is None:
                raise
            return found

    def _by_name(self, job: JobStatus) -> JobStatus:
        """Return a job whose hosts are called what the operator calls them."""
        if {task.host for task in job.tasks if task.host} - self._names.keys():
            self._names |= {each["metadata"]["name"]: nodes.operator_name(each) for each in self._full_nodes()}
        tasks = (replace(task, host=self._names.get(task.host, task.host)) for task in job.tasks)
        return replace(job, tasks=tuple(tasks))

    def _hosts(self, those: Sequence[Mapping[str, Any]]) -> list[Node]:
        """Return every host, with what `those` pods leave free."""
        return [nodes.parse_node(each, those) for each in self._full_nodes()]

    def _full_nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = call(self._its, requests.NODES.list())["items"]
        return found

    def _pods_of_all(self, fields: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = call(self._its, requests.ALL_PODS.list(fields=fields))["items"]
        return found

    def _jobs_on(self, node: Node) -> list[dict[str, Any]]:
        here = self._pods_of_all(f"spec.nodeName={node.id},{UNFINISHED}")
        return [
            pod
            for pod in here
            if pod["metadata"]["namespace"] == JOBS_NAMESPACE and not pod_status.is_daemonset_pod(pod)
        ]

    def _cordon(self, node: Node, cordoned: bool) -> None:
        call(self._its, requests.NODES.patch(node.id, {"spec": {"unschedulable": cordoned}}))

    def _evict(self, pod: str) -> None:
        with suppress(NotFoundError):
            call(self._its, requests.PODS.evict(pod))
