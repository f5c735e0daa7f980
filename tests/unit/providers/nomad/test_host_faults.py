"""A task is not said to run on a host to which Nomad has no connection."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator

import nomad
import pytest

from cloudmesh.cluster.core.model import Node
from cloudmesh.cluster.providers.nomad import host_faults
from cloudmesh.cluster.providers.nomad.host_faults import HostFaults
from cloudmesh.cluster.providers.nomad.status import SILENT


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for the node "there", has no path to "away", and takes its time for "slow"."""

    asked: list[str]
    resume: threading.Event

    def do_GET(self) -> None:
        node = self.path.partition("node_id=")[2]
        self.asked.append(node)
        if node.startswith("slow"):
            self.resume.wait(10)
        self.send_response(404 if node == "away" else 200)
        self.end_headers()
        meta = json.dumps({"Meta": {"cms_booted": "1000"}}).encode()
        self.wfile.write(b"No path to node" if node == "away" else meta)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostFaults]:
    monkeypatch.setattr(Handler, "asked", [], raising=False)
    monkeypatch.setattr(Handler, "resume", threading.Event(), raising=False)
    monkeypatch.setattr(host_faults, "_TIMEOUT_SECONDS", 0.2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield HostFaults(nomad.Nomad(address=f"http://127.0.0.1:{server.server_port}"), lambda: 1010.0)
        Handler.resume.set()
        server.shutdown()


def mark(faults: HostFaults, node: str, status: str = "running", started: str = "") -> str:
    tasks = {"task": {"StartedAt": started}} if started else None
    allocation = {"ID": "a", "NodeID": node, "ClientStatus": status, "TaskStates": tasks}
    faults.mark_silent([allocation])
    return allocation["ClientStatus"]


def test_a_host_without_a_connection_is_silent_for_as_long_as_that_is_so(faults: HostFaults):
    assert [mark(faults, "away"), mark(faults, "away")] == [SILENT, SILENT]
    assert mark(faults, "away", "complete") == "complete"


def test_a_node_without_a_connection_is_not_called_ready_and_one_that_is_down_stays_down(faults: HostFaults):
    nodes = [Node("h", "10.0.0.1", (), status, id=node) for status, node in (("ready", "away"), ("down", "away"))]
    assert [faults.mark_silent_node(node).status for node in nodes] == ["silent", "down"]
    assert faults.mark_silent_node(Node("h", "10.0.0.1", (), "ready", id="there")).status == "ready"


def test_what_ran_before_its_host_was_restarted_is_not_said_to_run(faults: HostFaults):
    before, since = "1970-01-01T00:16:30Z", "1970-01-01T00:16:45Z"
    assert [mark(faults, "there", started=started) for started in (before, since)] == [SILENT, "running"]


@pytest.mark.parametrize(("node", "told"), [("there", "running"), ("slow", SILENT)])
def test_a_host_is_not_asked_at_every_turn_and_of_one_that_takes_its_time_nothing_is_known(
    faults: HostFaults, node: str, told: str
):
    assert [mark(faults, node), mark(faults, node)] == [told, told]
    assert Handler.asked == [node]


def test_hosts_that_do_not_answer_are_waited_for_together(faults: HostFaults):
    started = time.monotonic()
    faults.ask(["slow", *(f"slow{number}" for number in range(9)), "there"])
    assert time.monotonic() - started < 1.5
    assert [mark(faults, node) for node in ("slow", "slow8", "there")] == [SILENT, SILENT, "running"]
