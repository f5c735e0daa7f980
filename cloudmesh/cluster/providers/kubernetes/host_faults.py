"""What Kubernetes does not tell of pods: that their host does not answer now, or was restarted under them.

For some seconds after all hosts have been restarted, the API calls everything running that ran before. Each kubelet is
asked what runs on its host, through the API. What comes out is added to the API's own JSON of pods, where
`pod_status.py` reads it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.kubernetes import pod_status, requests
from cloudmesh.cluster.providers.kubernetes.api_client import ask_kubelet, call

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_Pod = dict[str, Any]
_AT_ONCE = 8
# A host that takes longer is not asked again for long: it is frozen, or has much to do.
_TIMEOUT_SECONDS, _SLOW_SECONDS = 5.0, 30.0
# What is said to run and does not has mostly just ended: its kubelet says so within a second or two.
_READINGS, _PAUSE_SECONDS = 4, 1.0


class HostFaults:
    """What hosts say of the pods that the API calls running.

    Args:
        client: the API client.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._slow_until: dict[str, float] = {}  # by a node's name, in seconds of this machine's monotonic clock

    def mark_silent(self, pods: Iterable[_Pod]) -> None:
        """Mark those that run, as far as the API knows, and of which their hosts do not say so.

        Pods that are seen to have ended meanwhile are brought up to date.
        """
        doubtful = list(pods)
        for reading in range(_READINGS):
            if reading:
                time.sleep(_PAUSE_SECONDS)
                for pod in doubtful:
                    self._read_again(pod)
            doubtful = self._find_doubtful([pod for pod in doubtful if pod_status.is_running(pod)])
            if not doubtful:
                return
        for pod in doubtful:
            pod_status.mark_silent(pod)

    def _find_doubtful(self, pods: list[_Pod]) -> list[_Pod]:
        """Return those of the running pods that do not run for their kubelets; mark those whose kubelet is silent."""
        nodes = sorted({pod["spec"]["nodeName"] for pod in pods})
        doubtful = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for node, running in zip(nodes, pool.map(self._list_running, nodes), strict=True):
                for pod in [pod for pod in pods if pod["spec"]["nodeName"] == node]:
                    if running is None:
                        pod_status.mark_silent(pod)
                    elif pod_status.running_container(pod) not in running:
                        doubtful.append(pod)
        return doubtful

    def _list_running(self, node: str) -> set[tuple[str, str]] | None:
        """Return the containers that run on a node, see `pod_status.running_container`; None: it does not answer."""
        if self._slow_until.get(node, 0) > time.monotonic():
            return None
        asked = time.monotonic()
        try:
            answer = ask_kubelet(self._client, requests.running_pods(node), seconds=_TIMEOUT_SECONDS)
        except (ApiError, NotFoundError):
            if time.monotonic() > asked + _TIMEOUT_SECONDS:
                self._slow_until[node] = asked + _SLOW_SECONDS
            return None
        return {
            (pod["metadata"]["uid"], container["name"])
            for pod in answer["items"] or ()
            for container in pod["spec"]["containers"] or ()
        }

    def _read_again(self, pod: _Pod) -> None:
        with suppress(NotFoundError):
            fresh = call(self._client, requests.PODS.read(pod["metadata"]["name"]))
            if fresh["metadata"]["uid"] == pod["metadata"]["uid"]:
                pod.update(fresh)
