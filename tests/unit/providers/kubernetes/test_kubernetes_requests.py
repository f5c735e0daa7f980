"""Requests to the API of Kubernetes and the handling of its answers, with a real HTTP server."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

import pytest
import urllib3
from kubernetes import client
from support.waiting import wait_until

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.kubernetes import api, api_client, native, requests
from cloudmesh.cluster.providers.kubernetes.logs import HostFolder
from cloudmesh.cluster.providers.kubernetes.requests import ALL_PODS, JOBS, NODES, PODS, SECRETS, VOLUMES, Request

MANIFEST = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "finalizers": None}}
STRICT = "fieldValidation=Strict"
OURS = "/namespaces/cms-jobs"


class Received(NamedTuple):
    """A request as the server sees it."""

    what: str
    content_type: str | None
    body: Any
    accept: str | None
    byte_range: str | None = None


class Answer(NamedTuple):
    """An answer in pieces, between which the server waits for `resume`; without a status it hangs up at once."""

    status: int = 200
    pieces: tuple[bytes, ...] = (b'{"items": [], "metadata": {}}',)
    breaks_off: bool = False


class Server(http.server.ThreadingHTTPServer):
    """Gives `answers` in their order, then `last` for ever; keeps what it received."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[Received] = []
        self.answers: list[Answer] = []
        self.last = Answer()
        self.resume = threading.Event()
        self.client = client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{self.server_port}"))
        self.client.rest_client.pool_manager = urllib3.PoolManager(retries=False)

    @property
    def requested(self) -> list[str]:
        return [request.what for request in self.received]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = json.loads(body) if body else None
        what = f"{self.command} {self.path}"
        headers = self.headers
        received = Received(what, headers["Content-Type"], content, headers["Accept"], headers["Range"])
        self.server.received.append(received)
        self.send(self.server.answers.pop(0) if self.server.answers else self.server.last)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names are http.server's

    def send(self, answer: Answer) -> None:
        self.close_connection = answer.breaks_off or not answer.status
        if not answer.status:
            return
        self.send_response(answer.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(ConnectionError):  # who asked may have given up
            for number, piece in enumerate(answer.pieces):
                if number:
                    self.server.resume.wait(10)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if not answer.breaks_off:
                self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(api_client, "_PAUSE_SECONDS", 0)
    with Server() as fake_server:
        threading.Thread(target=fake_server.serve_forever, args=(0.01,), daemon=True).start()
        with fake_server.client:
            yield fake_server
        fake_server.shutdown()


def message(text: str) -> tuple[bytes]:
    """Return the body of an answer by which the API says something."""
    return (json.dumps({"kind": "Status", "message": text}).encode(),)


@pytest.mark.parametrize(
    ("api_request", "what"),
    [
        (NODES.list(), "GET /api/v1/nodes"),
        (ALL_PODS.list(fields="a!=b,c!=d"), "GET /api/v1/pods?fieldSelector=a%21%3Db%2Cc%21%3Dd"),
        (PODS.list(labels="a=b"), f"GET /api/v1{OURS}/pods?labelSelector=a%3Db"),
        (JOBS.read("a"), f"GET /apis/batch/v1{OURS}/jobs/a"),
        (VOLUMES.delete("a"), "DELETE /api/v1/persistentvolumes/a"),
        (PODS.delete_all(labels="a", fields="b"), f"DELETE /api/v1{OURS}/pods?labelSelector=a&fieldSelector=b"),
        (requests.list_kinds("v1"), "GET /api/v1"),
        (requests.list_kinds("apps/v1"), "GET /apis/apps/v1"),
    ],
)
def test_what_only_asks_or_deletes_sends_nothing(server: Server, api_request: Request, what: str) -> None:
    api_client.call(server.client, api_request)
    assert server.received == [(what, None, None, "application/json", None)]


@pytest.mark.parametrize(
    ("api_request", "what", "meaning"),
    [
        (JOBS.create(MANIFEST), f"POST /apis/batch/v1{OURS}/jobs", "json"),
        (JOBS.create(MANIFEST, strict=True), f"POST /apis/batch/v1{OURS}/jobs?{STRICT}", "json"),
        (SECRETS.replace("a", MANIFEST), f"PUT /api/v1{OURS}/secrets/a", "json"),
        (NODES.patch("a", MANIFEST), "PATCH /api/v1/nodes/a", "strategic-merge-patch+json"),
        (JOBS.apply("a", MANIFEST, dryRun="All"), f"PATCH /apis/batch/v1{OURS}/jobs/a?dryRun=All", "apply-patch+yaml"),
    ],
)
def test_what_is_sent_arrives_whole_and_says_what_it_means(
    server: Server, api_request: Request, what: str, meaning: str
) -> None:
    api_client.call(server.client, api_request)
    assert server.received == [(what, f"application/{meaning}", MANIFEST, "application/json", None)]


def test_a_pod_is_evicted_by_an_object_of_its_name(server: Server) -> None:
    api_client.call(server.client, PODS.evict("a"))
    (received,) = server.received
    assert received.what == f"POST /api/v1{OURS}/pods/a/eviction"
    assert received.body == {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}


@pytest.mark.parametrize(
    ("name", "quoted"), [("a/../b", "a%2F..%2Fb"), ("é ?#%", "%C3%A9%20%3F%23%25"), ("s:a", "s%3Aa")]
)
def test_a_name_leads_nowhere_else(server: Server, name: str, quoted: str) -> None:
    api_client.call(server.client, SECRETS.delete(name))
    api_client.call(server.client, requests.collection("v1", "secrets", name).read(name))
    assert server.requested == [
        f"DELETE /api/v1{OURS}/secrets/{quoted}",
        f"GET /api/v1/namespaces/{quoted}/secrets/{quoted}",
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiError),
        (401, ApiError),
        (404, NotFoundError),
        (409, api_client.ConflictError),
        (422, ApiError),
    ],
)
def test_a_refusal_is_told_in_the_apis_words_and_not_asked_for_again(
    server: Server, status: int, kind: type[Exception]
) -> None:
    server.last = Answer(status, message("there is\n  something"))
    with pytest.raises(kind, match=rf"^Kubernetes: there is something \(HTTP {status}\)$") as raised:
        api_client.call(server.client, JOBS.create(MANIFEST))
    assert type(raised.value) is kind
    assert len(server.requested) == 1


@pytest.mark.parametrize(
    "passing",
    [Answer(status=0), Answer(pieces=(b'{"ite',), breaks_off=True), Answer(429, message("")), Answer(503, (b"no",))],
    ids=["hangs up", "breaks off", "is busy", "is starting"],
)
def test_an_api_that_is_restarting_is_asked_again(server: Server, passing: Answer) -> None:
    server.answers = [passing, passing]
    assert api_client.call(server.client, NODES.list()) == {"items": [], "metadata": {}}
    assert len(server.requested) == 3


@pytest.mark.parametrize("not_ready", [Answer(500, (b"[-]informer-sync failed",)), Answer(403, message("may not"))])
def test_an_api_that_does_not_know_yet_who_may_do_what_is_asked_again(server: Server, not_ready: Answer) -> None:
    server.answers = [Answer(403, message("may not")), not_ready]
    assert api_client.call(server.client, NODES.list()) == {"items": [], "metadata": {}}
    assert server.requested == ["GET /api/v1/nodes", "GET /readyz", "GET /api/v1/nodes"]


def test_what_is_forbidden_by_an_api_that_is_ready_is_refused_at_once(server: Server) -> None:
    server.answers = [Answer(403, message("may not"))]
    with pytest.raises(ApiError, match=r"^Kubernetes: may not \(HTTP 403\)$"):
        api_client.call(server.client, NODES.list())
    assert server.requested == ["GET /api/v1/nodes", "GET /readyz"]


@pytest.mark.parametrize(
    ("lasting", "why"),
    [
        (Answer(status=0), "no answer from its API"),
        (Answer(500, (b"not JSON",)), r"Internal Server Error \(HTTP 500\)"),
        (Answer(503, message("wait")), r"wait \(HTTP 503\)"),
    ],
)
def test_an_api_that_stays_away_is_told_after_three_attempts(server: Server, lasting: Answer, why: str) -> None:
    server.last = lasting
    with pytest.raises(ApiError, match=f"^Kubernetes: {why}"):
        api_client.call(server.client, NODES.list())
    assert len(server.requested) == 3


def test_an_answer_is_waited_for_so_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "_TIMEOUT", (1, 0.2))
    server.last = Answer(pieces=(b"first\n", b"second\n"))
    with pytest.raises(ApiError, match=r"^Kubernetes: no answer from its API \(.*timed out"):
        api_client.call(server.client, NODES.list())


PATH = "pods/cms-jobs_a-0_u1/task"
FILES = f"GET /api/v1/nodes/h1/proxy/logs/{PATH}"


def test_the_output_of_a_pod_is_read_from_where_it_was_read_before(server: Server) -> None:
    server.last = Answer(206, pieces=(b"\nmore\n",))
    assert HostFolder(server.client, "h1", PATH).read("0.log", 100) == b"more\n"
    assert server.requested == [f"{FILES}/0.log"]
    assert server.received[0].accept == "*/*"
    assert server.received[0].byte_range == f"bytes=99-{100 + (4 << 20) - 1}"


def test_at_its_end_an_output_has_no_more_bytes(server: Server) -> None:
    server.last = Answer(206, pieces=(b"\n",))
    assert HostFolder(server.client, "h1", PATH).read("0.log", 100) == b""


def test_where_a_folder_has_several_names_the_first_that_is_there_counts(server: Server) -> None:
    server.answers = [Answer(404), Answer(206, pieces=(b"text\n",))]
    assert HostFolder(server.client, "h1", "other", PATH).read("0.log") == b"text\n"
    assert server.requested[-1] == f"{FILES}/0.log"


def test_a_hosts_files_are_found_in_what_the_kubelet_shows(server: Server) -> None:
    page = b'<pre>\n<a href="0.log">0.log</a>\n<a href="/api/x/0.log.gap">0.log.gap</a>\n<a href="pod/">pod/</a></pre>'
    server.last = Answer(pieces=(page,))
    assert HostFolder(server.client, "h1", PATH).list_names() == ["0.log", "0.log.gap", "pod"]
    assert server.requested == [f"{FILES}/"]


@pytest.mark.parametrize(
    ("metadata", "namespaced", "path"),
    [
        ({"name": "a"}, True, f"{OURS}/jobs/a"),
        ({"name": "a", "namespace": "b"}, True, "/namespaces/b/jobs/a"),
        ({"name": "a"}, False, "/jobs/a"),
    ],
)
def test_a_native_object_is_applied_where_the_api_has_its_kind(
    server: Server, metadata: dict[str, str], namespaced: bool, path: str
) -> None:
    resources = [{"kind": "Job", "name": "jobs/status", "namespaced": False}]
    resources.append({"kind": "Job", "name": "jobs", "namespaced": namespaced})
    manifest = {**MANIFEST, "metadata": metadata}
    applied = {**manifest, "metadata": {**metadata, "managedFields": []}}
    server.answers = [Answer(pieces=(json.dumps(answer).encode(),)) for answer in ({"resources": resources}, applied)]
    assert native.apply(server.client, manifest) == manifest
    assert server.requested == ["GET /apis/batch/v1", f"PATCH /apis/batch/v1{path}?fieldManager=cms-cluster&{STRICT}"]
    assert server.received[1][1:3] == ("application/apply-patch+yaml", manifest)


PROGRAM = """
import sys
from kubernetes import client
import cloudmesh.cluster.providers.kubernetes.provider
from cloudmesh.cluster.providers.kubernetes.api import KubernetesEngine
with client.ApiClient(client.Configuration(host=sys.argv[1])) as api_client:
    engine = KubernetesEngine(api_client, lambda _: None, lambda: (b"", 0.0))
    assert engine.jobs() == engine.nodes() == engine.volumes() == ()
print(*(name for name in sys.modules if name.startswith(("kubernetes.client.models.", "kubernetes.client.api."))))
"""


def test_a_command_does_not_wait_for_classes_that_it_does_not_use(server: Server) -> None:
    host = server.client.configuration.host
    done = subprocess.run([sys.executable, "-c", PROGRAM, host], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == ""


def test_the_token_for_hosts_that_join_is_made_valid_again_while_they_join(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_RENEWAL_SECONDS", 0.02)
    exists = Answer(409, message("it exists"))
    server.answers = [Answer(), Answer(), Answer(), exists, Answer(), Answer(), exists]
    with api.KubernetesEngine(server.client, lambda _: None, lambda: (b"", 0.0)).invitation() as token:
        assert wait_until(lambda: len(server.received) >= 8, 10, pause=0.01)
    path = "/api/v1/namespaces/kube-system/secrets"
    name = f"{path}/bootstrap-token-{token.partition('.')[0]}"
    create, patch = ["GET /version", f"POST {path}"], f"PATCH {name}"
    assert server.requested[:8] == [*create, *create, patch, *create, patch]
    assert server.requested[-1] == f"DELETE {name}"
    renewed = server.received[4].body["stringData"]
    assert f"{renewed['token-id']}.{renewed['token-secret']}" == token
    expires = datetime.strptime(renewed["expiration"], "%Y-%m-%dT%H:%M:%S%z")
    assert 590 < (expires - datetime.now(timezone.utc)).total_seconds() <= 601


def test_a_token_expires_by_the_clusters_time_and_not_by_the_operators(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "date_time_string", lambda *_: "Sun, 06 Nov 1994 08:49:37 GMT")
    with api.KubernetesEngine(server.client, lambda _: None, lambda: (b"", 0.0)).invitation():
        pass
    assert server.received[1].body["stringData"]["expiration"] == "1994-11-06T08:59:37Z"
