"""The output of a job, of whose pods Kubernetes may have deleted some: their hosts keep it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kubernetes import client
from support.task_logs import cri_line

from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kubernetes import logs
from cloudmesh.cluster.providers.kubernetes.logs import JobOutput

CREATED = "2026-11-24T06:00:00Z"
STARTED = 1795500010  # ten seconds later
ROOT = {"metadata": {"name": "a", "labels": {"cms-job": "a", "cms-part": "task"}, "creationTimestamp": CREATED}}


class Kubelets(http.server.BaseHTTPRequestHandler):
    """What the kubelet of each host answers about the files in the host's folder."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        node, _, name = self.path.removeprefix("/api/v1/nodes/").partition("/proxy/logs/")
        path = self.folder / node / name
        body = b""
        if path.is_dir():
            names = (f"{entry.name}/" if entry.is_dir() else entry.name for entry in path.iterdir())
            body = "".join(f'<a href="{entry}">{entry}</a>\n' for entry in names).encode()
        elif path.exists():
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            body = path.read_bytes()[int(first) : int(last) + 1]
        self.send_response(200 if path.exists() else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Hosts:
    """Hosts with what pods have printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, host: str, task: str, pod: str, text: bytes, started: int = STARTED) -> None:
        """Have a host keep what a pod printed."""
        folder = self.folder / host / "cloudmesh" / "a" / task / pod
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "0.log").write_bytes(text)
        (folder / "started").write_text(f"{started}\n")


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Return hosts that keep nothing."""
    monkeypatch.setattr(Kubelets, "folder", tmp_path, raising=False)
    return Hosts(tmp_path)


@pytest.fixture
def output(hosts: Hosts) -> Iterator[JobOutput]:
    """Yield the output of a job; host h3 is down."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Kubelets) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        api = client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{server.server_port}"))
        api.rest_client.pool_manager = urllib3.PoolManager(retries=False)
        with api:
            yield JobOutput(api, "a", lambda _: True, lambda: ["h1", "h2"])
        server.shutdown()


def pod(name: str, host: str = "h1", state: str = "running") -> dict[str, Any]:
    labels = {"cms-job": "a", "cms-part": "task", "batch.kubernetes.io/job-name": "a"}
    return {
        "metadata": {
            "name": name,
            "namespace": "cms-jobs",
            "uid": "u1",
            "labels": labels,
            "creationTimestamp": CREATED,
        },
        "spec": {"nodeName": host, "containers": [{"name": "task"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "task", "state": {state: {}}}]},
    }


def told(chunks: Iterator[Chunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks if chunk.stream == "stdout")


def test_what_a_deleted_pod_printed_is_told_by_the_host_that_keeps_it(hosts: Hosts, output: JobOutput):
    hosts.keep("h2", "task-0", "a-0-x", cri_line(b"text"))
    assert not output.must_wait([])
    assert told(output.read_deleted(ROOT, [])) == b"text\n"


def test_a_pod_that_is_deleted_while_it_is_read_is_read_on(hosts: Hosts, output: JobOutput):
    hosts.keep("h1", "task-0", "a-0-x", cri_line(b"one"))
    assert told(output.read_new([pod("a-0-x")], is_last=False)) == b"one\n"
    hosts.keep("h1", "task-0", "a-0-x", cri_line(b"one") + cri_line(b"two"))
    output.must_wait([])
    assert told(output.read_deleted(ROOT, [])) == b"two\n"


def test_a_pod_that_is_there_is_not_told_twice(hosts: Hosts, output: JobOutput):
    hosts.keep("h1", "task-0", "a-0-x", cri_line(b"text"))
    pods = [pod("a-0-x", state="terminated")]
    output.must_wait(pods)
    assert told(output.read_new(pods, is_last=True)) == b"text\n"
    assert told(output.read_deleted(ROOT, pods)) == b""


def test_a_pod_whose_output_is_not_kept_yet_is_read_where_the_kubelet_has_it(hosts: Hosts, output: JobOutput):
    folder = hosts.folder / "h1" / "pods" / "cms-jobs_a-0-x_u1" / "task"
    folder.mkdir(parents=True)
    (folder / "0.log").write_bytes(cri_line(b"text"))
    assert told(output.read_new([pod("a-0-x")], is_last=False)) == b"text\n"


def test_tasks_of_other_groups_and_of_an_earlier_job_of_the_name_are_left_out(hosts: Hosts, output: JobOutput):
    hosts.keep("h1", "helper-0", "a-helper-0-x", cri_line(b"helper"))
    hosts.keep("h1", "task-0", "a-0-old", cri_line(b"old"), started=STARTED - 70)
    hosts.keep("h1", "task-0", "a-0-new", cri_line(b"new"))
    output.must_wait([])
    assert told(output.read_deleted(ROOT, [])) == b"new\n"


def test_of_a_native_jobs_pod_the_first_container_is_told(hosts: Hosts, output: JobOutput):
    template = {"spec": {"containers": [{"name": "main"}, {"name": "aside"}]}}
    root = {"metadata": {"name": "a", "creationTimestamp": CREATED}, "spec": {"template": template}}
    hosts.keep("h1", "a-x", "aside", cri_line(b"no"))
    hosts.keep("h1", "a-x", "main", cri_line(b"text"))
    output.must_wait([])
    assert told(output.read_deleted(root, [])) == b"text\n"


def test_attempts_on_a_host_are_told_in_their_order(hosts: Hosts, output: JobOutput):
    hosts.keep("h1", "task-0", "a-0-b", cri_line(b"1"), started=STARTED)
    hosts.keep("h1", "task-0", "a-0-a", cri_line(b"2"), started=STARTED + 5)
    output.must_wait([])
    assert told(output.read_deleted(ROOT, [])) == b"1\n2\n"


def test_pods_that_still_end_are_waited_for_but_not_for_ever_and_not_on_a_host_that_is_down(
    output: JobOutput, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logs, "_PATIENCE_SECONDS", 0.2)
    assert not output.must_wait([pod("a-0-x", "h3")])
    wait: Callable[[], bool] = lambda: output.must_wait([pod("a-0-x")])  # noqa: E731
    assert wait()
    threading.Event().wait(0.3)
    assert not wait()
