"""KubernetesEngine: everything that `providers.base.Engine` asks of a cluster, done through the API of Kubernetes."""

from __future__ import annotations

import base64
import datetime
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError
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
from cloudmesh.cluster.providers.kubernetes import (
    api_client,
    credentials,
    driver_admission,
    etcd,
    indexed_jobs,
    native,
    nodes,
    placement,
    pod_spec,
    pod_status,
    requests,
)
from cloudmesh.cluster.providers.kubernetes.api_client import ConflictError, call, list_all, read_time
from cloudmesh.cluster.providers.kubernetes.jobs import UNFINISHED, JobStore
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOBS_NAMESPACE
from cloudmesh.cluster.providers.kubernetes.submit import JobObjects, without_secrets
from cloudmesh.cluster.providers.kubernetes.volumes import VolumeStore
from cloudmesh.cluster.spec import spark
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

    from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
    from cloudmesh.cluster.ssh.connection import Connection


_TOKEN_LIFETIME = datetime.timedelta(minutes=10)
_RENEWAL_SECONDS = 120.0
_TOKENS = requests.collection("v1", "secrets", credentials.BOOTSTRAP_NAMESPACE)


@contextmanager
def open_engine(server: Connection, secrets: ClusterSecrets) -> Iterator[KubernetesEngine]:
    """Yield the engine of the cluster that `server` belongs to; its API is reached through SSH."""
    with api_client.open_client(server, secrets) as client:
        yield KubernetesEngine(
            client,
            lambda address: etcd.remove_member(server, secrets, address),
            lambda: etcd.take_snapshot(server, secrets),
        )


class KubernetesEngine:
    """The engine of one Kubernetes cluster; `providers.base.Engine` says what each method does.

    Args:
        client: the API client.
        remove_member: takes the server at an address out of the members of the store behind the API.
        take_snapshot: returns the content of that store, and when it was that, in seconds since the epoch.
    """

    spark_overhead_mb = 0

    def __init__(
        self,
        client: ApiClient,
        remove_member: Callable[[str], None],
        take_snapshot: Callable[[], tuple[bytes, float]],
    ) -> None:
        self._client = client
        self._remove_member = remove_member
        self._take_snapshot = take_snapshot
        self._clock = ClusterClock(lambda: read_time(client))
        self._jobs = JobStore(client, self._clock)
        self._volumes = VolumeStore(client)
        self._operator_names: dict[str, str] = {}  # what the operator calls each node

    @contextmanager
    def invitation(self) -> Iterator[str]:
        """Yield a bootstrap token with which hosts can join until the block ends.

        It is valid for ten minutes, by the cluster's time, and again and again for so long while the block lasts: an
        operator who disappears leaves none that is valid for longer.
        """
        token, ended = credentials.generate_token(), threading.Event()
        self._put_token(token)

        def renew() -> None:
            while not ended.wait(_RENEWAL_SECONDS):
                with suppress(ApiError):  # it is tried again before the token expires
                    self._put_token(token)

        renewing = threading.Thread(target=renew, daemon=True)
        renewing.start()
        try:
            yield token
        finally:
            ended.set()
            renewing.join()
            with suppress(NotFoundError):
                call(self._client, _TOKENS.delete(credentials.build_token_name(token)))

    def _put_token(self, token: str) -> None:
        """Make a bootstrap token valid from now on, whether there is one or not."""
        now = datetime.datetime.fromtimestamp(read_time(self._client), datetime.timezone.utc)
        secret = credentials.build_token_secret(token, now + _TOKEN_LIFETIME)
        try:
            call(self._client, _TOKENS.create(secret))
        except ConflictError:
            call(self._client, _TOKENS.patch(secret["metadata"]["name"], {"stringData": secret["stringData"]}))

    def check(self) -> None:
        """Ask the API server whether it is ready, the store behind it included."""
        api_client.check(self._client)

    def nodes(self) -> tuple[Node, ...]:
        """Return every node, with what its pods leave free, sorted by name."""
        silent = nodes.find_silent(list_all(self._client, requests.NODE_LEASES.list()), self._clock.now())
        parsed = self._parse_nodes(self._list_all_pods(UNFINISHED), silent)
        return tuple(sorted(parsed, key=lambda node: node.name))

    def cordon(self, node: Node) -> None:
        """Send `node` no more pods; those that run there stay."""
        self._set_unschedulable(node, True)

    def begin_drain(self, node: Node) -> None:
        """Send `node` no more pods, and note which it had that Kubernetes has deleted: what they left can be moved.

        Raises:
            ApiError: a service is bound to it.
        """
        if bound := [
            pod_status.job_of(pod) for pod in self._list_job_pods_on(node) if indexed_jobs.is_bound_service(pod)
        ]:
            raise outcomes.services_bound(bound)
        self._set_unschedulable(node, True)
        if node.status != "down":
            with suppress(ApiError):
                self._jobs.note_deleted(node.id)

    def move_jobs(self, node: Node) -> tuple[str, ...]:
        """Evict the executors on `node`; return the jobs that have pods there: other tasks cannot be moved."""
        pods = self._list_job_pods_on(node)
        for pod in filter(pod_status.is_replaceable, pods):
            with suppress(NotFoundError):
                call(self._client, requests.PODS.evict(pod["metadata"]["name"]))
        return tuple(sorted({pod_status.job_of(pod) or pod["metadata"]["name"] for pod in pods}))

    def end_drain(self, node: Node) -> None:
        """Let `node` take pods again."""
        self._set_unschedulable(node, False)

    def remove_server(self, node: Node) -> None:
        """Take a server out of etcd's members; its API server, which asks its own etcd alone, ends with that."""
        self._remove_member(node.address)

    def remove_node(self, node: Node) -> None:
        """Delete `node` from the engine's list; Kubernetes then deletes its pods, and where they ran is kept before."""
        self._jobs.keep_placements(node.id)
        with suppress(NotFoundError):
            call(self._client, requests.NODES.delete(node.id))

    def specification(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        """Return the objects of the job, except its Secrets."""
        return without_secrets(submission)

    def submit(self, submission: Submission[JobSpec]) -> None:
        """Run the job; the API server refuses to replace one that exists."""
        objects = JobObjects(self._client, submission, self._admit(submission))
        objects.create_rest_and_start(objects.create_root())

    def resume(self, submission: Submission[JobSpec]) -> None:
        """Create the objects of the job that are missing, and start it where it has not been."""
        objects = JobObjects(self._client, submission, driver_admission.ALONE)
        objects.create_rest_and_start(self._jobs.read_root(submission.id))

    def run_native(self, job: NativeJob) -> Iterator[NativeSubmission]:
        """Apply the objects one after the other.

        Raises:
            ClusterError: no node could ever take the pods of one of them; none is applied.
        """
        all_nodes = self._list_nodes()
        for manifest in job.objects:
            if why := placement.why_never_placed(manifest, all_nodes):
                raise ClusterError(f"{native.kubectl_name(manifest)} can never run on this cluster: {why}")
        for manifest in job.objects:
            native.apply(self._client, manifest)
            job_id = manifest["metadata"]["name"] if native.can_be_followed(manifest) else ""
            yield NativeSubmission(native.kubectl_name(manifest), job_id)

    def plan_native(self, job: NativeJob) -> Mapping[str, Any]:
        """Return the objects as the API server would store them."""
        items = [native.apply(self._client, manifest, dry=True) for manifest in job.objects]
        return {"apiVersion": "v1", "kind": "List", "items": items}

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job in our namespace that Kubernetes still has, the newest first."""
        return tuple(map(self._with_operator_names, self._jobs.all()))

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""
        return self._with_operator_names(self._jobs.status(job_id))

    def logs(self, job_id: str, follow: bool, where: Callable[[str], bool] | None = None) -> Iterator[Chunk]:
        """Yield the output of the job's leading pods; with `follow`, until the job ends, including further attempts."""
        # A kubelet that is down or gone is asked in vain for a minute; of a job that is followed it may come back.
        up = None if follow else self._list_up()
        return self._jobs.read_output(
            job_id, follow, lambda node: (up is None or node in up) and (where is None or where(node)), self._list_up
        )

    def output_hosts(self, job_id: str) -> tuple[TaskHost, ...]:
        """Return the tasks whose output is the job's, with their nodes."""
        nodes_by_id = {node.id: node for node in self.nodes()}
        return tuple(
            TaskHost(placement.task, nodes_by_id.get(placement.host) or missing_node(placement.host, placement.host))
            for placement in self._jobs.task_placements(job_id, leading=True)
        )

    def stop(self, job_id: str, why_hopeless: str = "") -> None:
        """End the job and all its tasks."""
        self._jobs.stop(job_id, why_hopeless)

    def results(self, job_id: str) -> tuple[ResultLocation, ...]:
        """Return where the tasks of a job have left their results; of each task, its last attempt."""
        nodes_by_id = {node.id: node for node in self.nodes()}
        directory = pod_spec.HOST_RESULTS
        locations = [
            ResultLocation(
                placement.task,
                nodes_by_id.get(placement.host) or missing_node(placement.host, placement.host),
                f"{directory}/{pod_spec.results_path(job_id, placement.task, placement.pod)}",
            )
            for placement in self._jobs.task_placements(job_id)
        ]
        if self._jobs.has_failed(job_id):
            # Kubernetes has deleted the pods that were still running when the job failed: they may have run anywhere.
            locations += [
                ResultLocation("", node, f"{directory}/{job_id}") for node in nodes_by_id.values() if node.cores
            ]
        return tuple(locations)

    def address(self, job_id: str, port: str) -> str:
        """Return "HOST:PORT" by which other pods reach the port called `port` of the job's first task.

        Raises:
            NotFoundError: there is no such job, or it has no such port.
        """
        (container,) = self._jobs.read_root(job_id)["spec"]["template"]["spec"]["containers"]
        environment = {variable["name"]: variable.get("value") for variable in container.get("env", [])}
        number = environment.get(indexed_jobs.port_variable(port))
        if not number:
            raise NotFoundError(f"job {job_id} has no port {port!a}")
        return f"{indexed_jobs.hostname(job_id, job_id, 0)}:{number}"

    def secret(self, job_id: str) -> str:
        """Return the secret that only the tasks of a job have."""
        secret = call(self._client, requests.SECRETS.read(pod_spec.tasks_secret_name(job_id)))
        return base64.b64decode(secret["data"][pod_spec.SECRET]).decode()

    def leftovers(self) -> tuple[Leftover, ...]:
        """Return the jobs that have ended and have tasks or secrets left, and those that can never begin."""
        return tuple(self._jobs.leftovers())

    def forget_expired(self) -> None:
        """Do nothing: Kubernetes itself deletes the jobs whose time to live is over."""

    def snapshot(self) -> Snapshot:
        """Return the content of etcd; where the tasks of jobs ran is kept in it, as their pods go with the nodes."""
        names = tuple(node["metadata"]["name"] for node in self._list_nodes())
        self._jobs.keep_placements(*names)
        return Snapshot(*self._take_snapshot(), taken_names=names)

    def volumes(self) -> tuple[Volume, ...]:
        """Return the volumes of the cluster, sorted by name."""
        return self._volumes.all()

    def put_volume(self, volume: Volume) -> None:
        """Store a volume."""
        self._volumes.put(volume)

    def remove_volume(self, name: str) -> None:
        """Remove a volume that no job has mounted."""
        self._volumes.remove(name)

    def _admit(self, submission: Submission[JobSpec]) -> driver_admission.Admission:
        """Return when and where the driver of a new Spark job may start; for other jobs it has no meaning."""
        if not is_spark(submission):
            return driver_admission.ALONE
        pods = self._list_all_pods(UNFINISHED)
        without_spark = [pod for pod in pods if not pod_status.label(pod, pod_spec.ROLE)]
        ready = [node for node in self._parse_nodes(without_spark) if node.status == "ready"]
        jobs = driver_admission.find_unfinished_spark_jobs(list_all(self._client, requests.JOBS.list()), pods)
        return driver_admission.admit(*spark.spark_requests(submission.job), ready, jobs)

    def _with_operator_names(self, job: JobStatus) -> JobStatus:
        """Return the job with its hosts as the operator calls them, instead of the names of their nodes."""
        if {task.host for task in job.tasks if task.host} - self._operator_names.keys():
            self._operator_names |= {node["metadata"]["name"]: nodes.operator_name(node) for node in self._list_nodes()}
        tasks = (replace(task, host=self._operator_names.get(task.host, task.host)) for task in job.tasks)
        return replace(job, tasks=tuple(tasks))

    def _parse_nodes(self, pods: Sequence[Mapping[str, Any]], silent: Collection[str] = ()) -> list[Node]:
        """Return every node, with what `pods` leave free."""
        listed = self._list_nodes()
        apis = self._list_apis() if sum(map(nodes.is_server, listed)) > 1 else None
        return [nodes.parse_node(node, pods, apis, silent) for node in listed]

    def _list_up(self) -> set[str]:
        """Return the names of the nodes that are not down."""
        return {node.id for node in self.nodes() if node.status != "down"}

    def _list_apis(self) -> set[str]:
        """Return the addresses of the API servers that live, as they tell each other."""
        endpoints = call(self._client, requests.API_SERVERS.read("kubernetes")).get("endpoints") or []
        return {address for endpoint in endpoints for address in endpoint["addresses"]}

    def _list_nodes(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = list_all(self._client, requests.NODES.list())
        return items

    def _list_all_pods(self, fields: str) -> list[dict[str, Any]]:
        """Return the pods of all namespaces that match a field selector."""
        items: list[dict[str, Any]] = list_all(self._client, requests.ALL_PODS.list(fields=fields))
        return items

    def _list_job_pods_on(self, node: Node) -> list[dict[str, Any]]:
        """Return the pods of jobs on a node that have not ended."""
        pods = self._list_all_pods(f"spec.nodeName={node.id},{UNFINISHED}")
        return [
            pod
            for pod in pods
            if pod["metadata"]["namespace"] == JOBS_NAMESPACE and not pod_status.is_daemonset_pod(pod)
        ]

    def _set_unschedulable(self, node: Node, unschedulable: bool) -> None:
        call(self._client, requests.NODES.patch(node.id, {"spec": {"unschedulable": unschedulable}}))
