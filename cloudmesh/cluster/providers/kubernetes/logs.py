"""The output of pods: the files that their hosts keep of it, read by the byte, through the API and the kubelet.

The API has a request of its own for the output of a pod. It cannot be used: it can be continued at a time but not at a
byte, and knows nothing of a pod that was deleted. `cloudmesh/images/kubernetes/keep-output.sh` keeps the files of such
a pod, and bounds all of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kept_log import KeptLog
from cloudmesh.cluster.providers.kubernetes import pod_status, requests, status
from cloudmesh.cluster.providers.kubernetes.api_client import call_with_retry, read_bytes
from cloudmesh.cluster.providers.kubernetes.cri_log import CriLog
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOB

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


_PIECE_BYTES = 4 << 20
_LINK = re.compile(r'href="([^"]+)"')
# Below /var/log, as are all paths here. It has JOB/TASK/POD; of native jobs, whose tasks are pods, JOB/POD/CONTAINER.
_KEPT = "cloudmesh"
_STARTED = "started"
# For so long pods may end after their job was stopped; the kubelet kills them before.
_PATIENCE_SECONDS = 30.0
# So much may the clock of a host be behind that of the API. An earlier job of the same name is gone a minute before.
_CLOCK_SECONDS = 30.0


class LogFolder(Protocol):
    """The files that a host has of the output of a container, as this module needs them."""

    def list_names(self) -> list[str]:
        """Return the names of the files; NotFoundError where there is no such folder."""

    def read(self, name: str, offset: int = 0) -> bytes:
        """Return the next bytes of a file, none at its end; NotFoundError where there is no such file."""


class PodOutput:
    """What a container has written, each piece of which is returned once.

    Args:
        folder: of its host.
        task: the name of its task.
    """

    def __init__(self, folder: LogFolder, task: str) -> None:
        self._folder = folder
        self._task = task
        self._attempts: dict[int, KeptLog] = {}

    def read_new(self, restarts: int = 0) -> Iterator[Chunk]:
        """Yield what was written since the last call.

        Args:
            restarts: how often the container was restarted in its pod.

        Raises:
            NotFoundError: its host keeps nothing of it any more.
        """
        if not self._attempts:
            names = (name.partition(".") for name in self._folder.list_names())
            self._add(sorted(int(number) for number, _, suffix in names if suffix == "log"))
        self._add(range(max(self._attempts, default=-1) + 1, restarts + 1))
        for attempt in self._attempts.values():
            yield from attempt.read_new()

    def _add(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._attempts[number] = KeptLog(_LogFile(self._folder, f"{number}.log"), CriLog(), self._task)


class _LogFile:
    """What a container has written from one start to its end; nothing as long as there is no such file."""

    def __init__(self, folder: LogFolder, name: str) -> None:
        self._folder = folder
        self._name = name

    def read(self, offset: int) -> bytes:
        with suppress(NotFoundError):
            return self._folder.read(self._name, offset)
        return b""

    def read_gap(self) -> bytes:
        with suppress(NotFoundError):
            return self._folder.read(f"{self._name}.gap")
        return b""


class HostFolder:
    """A `LogFolder` on a host, which may have several names: the first where there is something is read.

    Args:
        client: the API client.
        node: the name of the host's node.
        paths: of the folder.
    """

    def __init__(self, client: ApiClient, node: str, *paths: str) -> None:
        self._client = client
        self._node = node
        self._paths = paths

    def list_names(self) -> list[str]:
        """Return the names of the files and folders in it."""
        page = self._read_first([requests.log_file(self._node, f"{path}/") for path in self._paths]).decode()
        return [unquote(link).rstrip("/").rpartition("/")[2] for link in _LINK.findall(page)]

    def read(self, name: str, offset: int = 0) -> bytes:
        """Return the next bytes of a file."""
        # At its end there is one byte, which was read before: a request for none at all is refused.
        start = max(0, offset - 1)
        files = [f"{path}/{name}" for path in self._paths]
        answer = self._read_first([requests.log_file(self._node, file, start, offset + _PIECE_BYTES) for file in files])
        return answer[offset - start :]

    def _read_first(self, alternatives: list[requests.Request]) -> bytes:
        for request in alternatives[:-1]:
            with suppress(NotFoundError):
                return self._read(request)
        return self._read(alternatives[-1])

    def _read(self, request: requests.Request) -> bytes:
        return call_with_retry(lambda: read_bytes(self._client, request))


class KeptPod(NamedTuple):
    """A pod whose output a host keeps, whether there is the pod or not.

    Attributes:
        started: when it was, in seconds since the epoch, by the clock of its host.
        name: of the pod.
        task: its task.
        output: what it has written.
    """

    started: float
    name: str
    task: str
    output: PodOutput


class JobOutput:
    """The output of a job's leading pods, see `status.leading_pods`; each piece is returned once.

    Args:
        client: the API client.
        job_id: the job.
        where: tells by the name of a node whether the pods there are read.
        list_up: returns the names of the nodes that are not down.
    """

    def __init__(
        self, client: ApiClient, job_id: str, where: Callable[[str], bool], list_up: Callable[[], Collection[str]]
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._where = where
        self._list_up = list_up
        self._outputs: dict[str, PodOutput] = {}  # by the names of the pods
        self._up: set[str] | None = None
        self._deadline = 0.0

    def must_wait(self, pods: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether some of the pods of a job that is over, as it was stopped, still end, and may write."""
        if self._up is None:
            self._up = set(filter(self._where, self._list_up()))
            self._deadline = time.monotonic() + _PATIENCE_SECONDS
        is_ending = any(pod_status.is_running(pod) and pod["spec"]["nodeName"] in self._up for pod in self._read(pods))
        return is_ending and time.monotonic() < self._deadline

    def read_new(self, pods: Iterable[Mapping[str, Any]], *, is_last: bool) -> Iterator[Chunk]:
        """Yield what was written since the last call.

        Args:
            pods: of the job.
            is_last: whether nobody will call again, so that what cannot be had is told in a line.
        """
        for pod in filter(pod_status.has_started, self._read(pods)):
            name = pod["metadata"]["name"]
            if name not in self._outputs:
                self._outputs[name] = self._open(pod)
            try:
                yield from self._outputs[name].read_new(pod_status.count_restarts(pod))
            except (ApiError, NotFoundError) as error:
                if is_last:
                    task, host = pod_status.task_name(pod), pod["spec"].get("nodeName")
                    yield outcomes.missing_output(f"{task} on {host} cannot be had: {error}")

    def read_deleted(self, root: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Iterator[Chunk]:
        """Yield what is left to be read of pods that Kubernetes has deleted.

        Args:
            root: the root Job of the job, which is over.
            pods: those that there are.
        """
        if status.has_all_leading_pods(root, pods):
            return
        for host in sorted(self._up or ()):
            try:
                for pod in list_deleted_pods(self._client, host, root, pods):
                    if status.is_leading_task(root, pod.task):
                        yield from self._outputs.get(pod.name, pod.output).read_new()
            except (ApiError, NotFoundError) as error:
                yield outcomes.missing_output(f"{self._job_id} on {host} cannot be had: {error}")

    def _read(self, pods: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return those of the pods that are read, the oldest first."""
        return [pod for pod in status.leading_pods(pods) if self._where(pod["spec"].get("nodeName", ""))]

    def _open(self, pod: Mapping[str, Any]) -> PodOutput:
        """Return the output of a pod that there is, of which the first container is read."""
        task, name = pod_status.task_name(pod), pod["metadata"]["name"]
        attempt = name if pod_status.label(pod, JOB) else pod_status.first_container(pod)
        # The kubelet may have removed the files of containers that were restarted.
        paths = (f"{_KEPT}/{self._job_id}/{task}/{attempt}", pod_status.log_folder(pod))
        return PodOutput(HostFolder(self._client, str(pod["spec"]["nodeName"]), *paths), task)


def list_deleted_pods(
    client: ApiClient, node: str, root: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]
) -> list[KeptPod]:
    """Return the pods of a job that Kubernetes has deleted, and whose output a host keeps, the oldest first.

    Args:
        client: the API client.
        node: the name of the host's node.
        root: the root Job of the job.
        pods: those that there are.
    """
    there = {pod["metadata"]["name"] for pod in pods}
    created = pod_status.parse_time(root["metadata"]["creationTimestamp"])
    listed = _list_kept_pods(client, node, root)
    return sorted(pod for pod in listed if pod.name not in there and pod.started > created - _CLOCK_SECONDS)


def _list_kept_pods(client: ApiClient, node: str, root: Mapping[str, Any]) -> Iterator[KeptPod]:
    """Yield the pods of a job, or of an earlier one of its name, whose output a host keeps."""
    path = f"{_KEPT}/{root['metadata']['name']}"
    container = "" if pod_status.label(root, JOB) else pod_status.first_container(root["spec"]["template"])
    with suppress(NotFoundError):
        for task in HostFolder(client, node, path).list_names():
            for attempt in HostFolder(client, node, f"{path}/{task}").list_names():
                if container in ("", attempt):
                    folder = HostFolder(client, node, f"{path}/{task}/{attempt}")
                    pod = task if container else attempt
                    yield KeptPod(float(folder.read(_STARTED)), pod, task, PodOutput(folder, task))
