"""A pod is not said to run that its host knows nothing of, or whose kubelet does not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3
from kubernetes.client import ApiClient, Configuration

from cloudmesh.cluster.core.model import State
from cloudmesh.cluster.providers.kubernetes import host_faults, pod_status
from cloudmesh.cluster.providers.kubernetes.host_faults import HostFaults

RUNNING = {"running": {"startedAt": "2026-11-24T06:00:00Z"}}
ENDED = {"terminated": {"exitCode": 3, "startedAt": "2026-11-24T06:00:00Z", "finishedAt": "2026-11-24T06:00:10Z"}}
DOWN = "error trying to reach service: dial tcp 10.0.0.2:10250: connect: connection refused"


def build_pod(name: str, node: str, state: dict[str, Any] = RUNNING) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-of-{name}"},
        "spec": {"nodeName": node, "containers": [{"name": "task"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "task", "state": state}],
        },
    }


class Handler(BaseHTTPRequestHandler):
    """Passes on to the kubelets of "up", "down" and "slow"; what runs on "up" is in `running`."""

    running: tuple[str, ...]
    pods: dict[str, dict[str, Any]]
    resume: threading.Event

    def do_GET(self) -> None:
        words = self.path.split("/")
        if words[-1] in self.pods:
            self._answer(200, self.pods[words[-1]])
        elif words[4] == "down":
            self._answer(503, {"message": DOWN})
        elif words[4] == "slow":
            self.resume.wait(10)
        else:
            containers = [{"name": "task"}]
            items = [
                {"metadata": {"uid": f"uid-of-{name}"}, "spec": {"containers": containers}} for name in self.running
            ]
            self._answer(200, {"items": items or None})

    def _answer(self, status: int, fields: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(fields).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostFaults]:
    monkeypatch.setattr(Handler, "running", (), raising=False)
    monkeypatch.setattr(Handler, "pods", {}, raising=False)
    monkeypatch.setattr(Handler, "resume", threading.Event(), raising=False)
    monkeypatch.setattr(host_faults, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(host_faults, "_PAUSE_SECONDS", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with ApiClient(Configuration(host=f"http://127.0.0.1:{server.server_port}")) as client:
            client.rest_client.pool_manager = urllib3.PoolManager(retries=False)
            yield HostFaults(client)
        Handler.resume.set()
        server.shutdown()


def read_states(faults: HostFaults, *pods: dict[str, Any]) -> list[State]:
    faults.mark_silent(pods)
    return [pod_status.state(pod) for pod in pods]


def test_what_runs_on_its_host_is_said_to_run(faults: HostFaults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "running", ("a",))
    assert read_states(faults, build_pod("a", "up")) == [State.RUNNING]


def test_what_ran_before_its_host_was_restarted_is_unknown(faults: HostFaults) -> None:
    Handler.pods["a"] = build_pod("a", "up")
    assert read_states(faults, build_pod("a", "up")) == [State.UNKNOWN]


def test_what_has_just_ended_is_told_as_its_host_reports_it(faults: HostFaults) -> None:
    Handler.pods["a"] = build_pod("a", "up", ENDED) | {
        "status": {"phase": "Failed", "containerStatuses": [{"name": "task", "state": ENDED}]}
    }
    assert read_states(faults, build_pod("a", "up")) == [State.FAILED]


def test_of_a_host_that_does_not_answer_or_not_in_time_nothing_is_known(
    faults: HostFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "running", ("b",))
    pods = [build_pod("a", "down"), build_pod("b", "up"), build_pod("c", "slow")]
    assert read_states(faults, *pods) == [State.UNKNOWN, State.RUNNING, State.UNKNOWN]


def test_a_container_that_is_not_ready_by_its_own_probe_runs(
    faults: HostFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "running", ("a",))
    pod = build_pod("a", "up")
    pod["status"]["conditions"][0] |= {"status": "False", "reason": "ContainersNotReady"}
    assert read_states(faults, pod) == [State.RUNNING]
