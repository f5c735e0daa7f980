"""What is known of a job once its host is down or was removed; the API is one in memory that answers HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from kubernetes.client import ApiClient, Configuration

from cloudmesh.cluster.core.model import State
from cloudmesh.cluster.providers.kubernetes import nodes, pod_spec
from cloudmesh.cluster.providers.kubernetes.api import KubernetesEngine

BEGAN, ENDED = "2026-11-24T06:00:00Z", "2026-11-24T06:00:10Z"
JOB = "/apis/batch/v1/namespaces/cms-jobs/jobs"
PODS = "/api/v1/namespaces/cms-jobs/pods"


def build_node(name: str, written: str, *, ready: bool = True) -> dict[str, Any]:
    resources = {"cpu": "2", "memory": "4Gi"}
    conditions = [{"type": "Ready", "status": str(ready)}, {"type": "NetworkUnavailable", "status": "False"}]
    status = {"capacity": resources, "allocatable": resources, "conditions": conditions, "addresses": []}
    return {"metadata": {"name": name, "annotations": {nodes.HOST: written}}, "spec": {}, "status": status}


def build_pod(index: int, node: str) -> dict[str, Any]:
    labels = {pod_spec.JOB: "two", pod_spec.PART: "task", "batch.kubernetes.io/job-name": "two"}
    annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
    ended = {"exitCode": 0, "startedAt": BEGAN, "finishedAt": ENDED}
    return {
        "metadata": {
            "name": f"two-{index}",
            "namespace": "cms-jobs",
            "creationTimestamp": BEGAN,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {"nodeName": node, "containers": [{"name": "task", "image": "x"}]},
        "status": {"phase": "Succeeded", "containerStatuses": [{"name": "task", "state": {"terminated": ended}}]},
    }


class Api(BaseHTTPRequestHandler):
    """Answers for a job of two tasks, each on a node of its own."""

    objects: dict[str, dict[str, Any]]
    kubelet: dict[str, bytes]  # what the kubelet of n2 shows below /var/log

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if (shown := path.removeprefix("/api/v1/nodes/n2/proxy/logs/")) in self.kubelet:
            self._answer(self.kubelet[shown])
        elif path in self.objects:
            self._answer(json.dumps(self.objects[path]).encode())
        else:
            folder = PODS if path == "/api/v1/pods" else path
            items = [item for place, item in self.objects.items() if place.rpartition("/")[0] == folder]
            self._answer(json.dumps({"metadata": {}, "items": items}).encode())

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        annotations = body.get("metadata", {}).get("annotations", {})
        self.objects[self.path]["metadata"]["annotations"].update(annotations)
        self._answer(b"{}")

    def do_DELETE(self) -> None:
        """Take a node away, with the pods on it."""
        del self.objects[self.path]
        name = self.path.rpartition("/")[2]
        for place, item in list(self.objects.items()):
            if item["spec"].get("nodeName") == name:
                del self.objects[place]
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def engine() -> Iterator[KubernetesEngine]:
    root = {
        "metadata": {
            "name": "two",
            "creationTimestamp": BEGAN,
            "labels": {pod_spec.JOB: "two", pod_spec.PART: "task"},
            "annotations": {pod_spec.DIGEST: "d"},
        },
        "spec": {"parallelism": 2},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }
    Api.kubelet = {}
    Api.objects = {
        "/api/v1/nodes/n1": build_node("n1", "Büro_1"),
        "/api/v1/nodes/n2": build_node("n2", "Büro_2"),
        f"{JOB}/two": root,
        f"{PODS}/two-0": build_pod(0, "n1"),
        f"{PODS}/two-1": build_pod(1, "n2"),
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with ApiClient(Configuration(host=f"http://127.0.0.1:{server.server_address[1]}")) as client:
            client.rest_client.pool_manager = urllib3.PoolManager(retries=False)
            yield KubernetesEngine(client, lambda _: None, lambda: (b"", 0.0))
        server.shutdown()


def places(engine: KubernetesEngine) -> list[tuple[str, str, str]]:
    return [(task, node.name, node.status) for task, node in engine.output_hosts("two")]


def test_a_host_that_is_down_is_told_with_the_task_whose_output_it_has(engine: KubernetesEngine) -> None:
    assert [(task, node) for task, node, _ in places(engine)] == [("task-0", "Büro_1"), ("task-1", "Büro_2")]
    Api.objects["/api/v1/nodes/n2"] = build_node("n2", "Büro_2", ready=False)
    assert ("task-1", "Büro_2", "down") in places(engine)


def test_where_tasks_ran_is_known_after_their_node_was_removed(engine: KubernetesEngine) -> None:
    engine.remove_node(next(node for node in engine.nodes() if node.name == "Büro_2"))
    assert [node.name for node in engine.nodes()] == ["Büro_1"]
    assert ("task-1", "n2", "missing") in places(engine)
    missing = [location for location in engine.results("two") if location.node.status == "missing"]
    assert [(location.task, location.node.name) for location in missing] == [("task-1", "n2")]
    status = engine.job("two")
    assert status.state is State.SUCCEEDED
    assert ("task-1", "n2", State.SUCCEEDED, "its host was removed") in [
        (task.name, task.host, task.state, task.reason) for task in status.tasks
    ]


def test_a_task_whose_pod_kubernetes_deleted_as_another_failed_is_known_once_its_node_is_drained(
    engine: KubernetesEngine,
) -> None:
    Api.objects[f"{JOB}/two"]["status"]["conditions"][0]["type"] = "Failed"
    del Api.objects[f"{PODS}/two-1"]
    Api.kubelet = {
        "cloudmesh/two/": b'<a href="task-1/">task-1/</a>',
        "cloudmesh/two/task-1/": b'<a href="two-1/">two-1/</a>',
        "cloudmesh/two/task-1/two-1/started": b"1795500010\n",
    }
    assert [task for task, _, _ in places(engine)] == ["task-0"]
    engine.begin_drain(next(node for node in engine.nodes() if node.name == "Büro_2"))
    assert [(task, node) for task, node, _ in places(engine)] == [("task-0", "Büro_1"), ("task-1", "Büro_2")]
    assert "Büro_2" in engine.job("two").hosts
    located = [location.path for location in engine.results("two") if location.task == "task-1"]
    assert located == [f"{pod_spec.HOST_RESULTS}/two/task-1/two-1"]
