"""A snapshot is put in the place of Nomad's state, and the nodes in it are forgotten, or the script fails."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import pytest

SCRIPT = resources.files("cloudmesh.images").joinpath("nomad/restore.sh").read_text()
TOKEN = "8b5e1f0a-0000-4000-8000-000000000000"  # noqa: S105
VOLUME, NODE, OTHER = (f"{digit * 8}-0000-0000-0000-000000000000" for digit in "abc")


@dataclass
class Nomad:
    """What answers in the place of Nomad.

    Attributes:
        nodes: what it has; a request for its purge takes one away, unless it is stubborn.
        asked: method and path of each request; those without the token are refused.
    """

    stubborn: bool = False
    nodes: list[str] = field(default_factory=lambda: [NODE, OTHER])
    asked: list[str] = field(default_factory=list)
    restored: bytes = b""

    def answer(self, method: str, path: str) -> object:
        self.asked.append(f"{method} {path}")
        if path == "/v1/volumes?type=host":
            return [{"CapacityBytes": 0, "ID": VOLUME, "Name": "data", "NodeID": NODE}]
        if path == "/v1/nodes":
            # As Nomad writes it: sorted by name, with the IDs of volumes within a node.
            return [
                {"Address": "127.0.0.1", "HostVolumes": {"data": {"ID": VOLUME}}, "ID": node, "LastDrain": None}
                for node in self.nodes
            ]
        if (match := re.fullmatch("/v1/node/(.*)/purge", path)) and not self.stubborn:
            self.nodes.remove(match[1])
        return {}


@pytest.fixture
def nomad() -> Nomad:
    return Nomad()


@pytest.fixture
def port(nomad: Nomad) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "PUT":
                nomad.restored = sent
            is_known = self.headers.get("X-Nomad-Token") == TOKEN
            body = nomad.answer(self.command, self.path) if is_known else "Permission denied"
            self.send_response(200 if is_known else 403)
            self.end_headers()
            self.wfile.write(json.dumps(body, separators=(",", ":")).encode())

        do_GET = do_PUT = do_POST = do_DELETE = respond  # noqa: N815 - so the library calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def restore(folder: Path, port: int, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    (folder / "snapshot").write_bytes(b"state")
    (folder / "secret").write_text(json.dumps({"BootstrapSecret": token}, indent=2))
    (folder / "restore.sh").write_text(SCRIPT.replace("127.0.0.1:4646", f"127.0.0.1:{port}"))
    return subprocess.run(
        ["sh", "restore.sh", "snapshot", "secret"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_snapshot_comes_first_then_volumes_and_nodes_go(nomad: Nomad, port: int, tmp_path: Path) -> None:
    ran = restore(tmp_path, port)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert nomad.restored == b"state"
    assert nomad.nodes == []
    assert nomad.asked == [
        "PUT /v1/operator/snapshot",
        "GET /v1/volumes?type=host",
        f"DELETE /v1/volume/host/{VOLUME}?force=true",
        "GET /v1/nodes",
        f"POST /v1/node/{NODE}/purge",
        f"POST /v1/node/{OTHER}/purge",
        "GET /v1/nodes",
    ]


def test_it_fails_where_nomad_refuses_or_keeps_a_node(nomad: Nomad, port: int, tmp_path: Path) -> None:
    refused = restore(tmp_path, port, "another")
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr
    nomad.stubborn = True
    stubborn = restore(tmp_path, port)
    assert stubborn.returncode != 0
    assert "it has not forgotten the nodes" in stubborn.stderr
