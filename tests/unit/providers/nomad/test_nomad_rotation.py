"""Which nodes Nomad does not reach while certificates are replaced, by an API that says so in either way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.providers.nomad.rotation import NomadRotation

SPEC = ClusterSpec(
    "demo", "abc", "nomad", ("10.0.0.1",), ClusterSecrets(certificates.new_authority("demo"), {"token": "t"})
)
ANSWERS = {"up": (200, "{}"), "lost": (404, "No path to node"), "broken": (500, "rpc error: EOF")}


class Api(BaseHTTPRequestHandler):
    """Nomad's, of nodes whose ids are the keys of ANSWERS."""

    def do_GET(self) -> None:
        _, _, node_id = self.path.partition("node_id=")
        nodes = json.dumps([{"ID": name, "Address": f"address of {name}"} for name in ANSWERS])
        status, text = ANSWERS[node_id] if node_id else (200, nodes)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    """Yield what stands for a connection: a way to the API."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()

        @contextmanager
        def forward(*_: object) -> Iterator[object]:
            yield SimpleNamespace(port=http.server_port, failure="")

        yield SimpleNamespace(forward=forward)
        http.shutdown()


def test_nodes_that_have_no_way_yet_or_do_not_answer_are_silent_and_others_are_not(server: Any) -> None:
    silent = NomadRotation().silent_nodes(cast(Any, server), SPEC)
    assert silent.keys() == {"address of lost", "address of broken"}
    assert "No path to node" in silent["address of lost"]
