"""What is wrong with certificates and clocks on the way to the API is told, and not as an API that does not answer."""

from __future__ import annotations

import datetime
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.providers.kubernetes import api_client
from cloudmesh.cluster.providers.kubernetes.requests import NODES
from cloudmesh.cluster.ssh.tunnel import Listener

AUTHORITY, STRANGER = certificates.new_authority("demo"), certificates.new_authority("demo")


class Unauthorized(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"message": "Unauthorized"}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Way(Listener):
    """Stands for a tunnel: a port of this machine that leads to another, or nowhere."""

    def __init__(self, port: int, failure: str = "") -> None:
        super().__init__()
        self.close()
        self.port, self.failure = port, failure


@contextmanager
def serving(folder: Path, pair: certificates.KeyPair) -> Iterator[int]:
    file = folder / "server.pem"
    file.write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unauthorized) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def ask(way: Way, clock_ahead: float = 0.0) -> str:
    """Return what is told of a failed request to the API behind `way`, by an operator whose clock is ahead."""

    def tell_time(*_: object, **__: object) -> str:
        return str(datetime.datetime.now(datetime.timezone.utc).timestamp() - clock_ahead)

    server = cast(Any, SimpleNamespace(host="srv1", forward=lambda *_: way, ask=tell_time))
    keys = {"ca": AUTHORITY.certificate.decode(), "ca_key": AUTHORITY.key.decode()}
    way_in = api_client.open_client(server, ClusterSecrets(AUTHORITY, keys))
    with pytest.raises(ApiError) as caught, way_in as client:
        api_client.call(client, NODES.list())
    return str(caught.value)


def issue(authority: certificates.KeyPair, name: str = "kubernetes", lifetime: float = 1.0) -> certificates.KeyPair:
    return certificates.issue(authority, "server", [name], lifetime=datetime.timedelta(days=lifetime))


@pytest.mark.parametrize(
    ("pair", "cause"),
    [
        (issue(STRANGER), "the server's certificate is not of this cluster's authority"),
        (issue(AUTHORITY, "other"), "the server's certificate is of another name"),
        (issue(AUTHORITY, lifetime=-0.01), "the server's certificate has expired by this machine's clock"),
    ],
    ids=["authority", "name", "time"],
)
def test_a_certificate_of_the_api_that_is_not_accepted_is_told(
    tmp_path: Path, pair: certificates.KeyPair, cause: str
) -> None:
    with serving(tmp_path, pair) as port:
        said = ask(Way(port), clock_ahead=3 * 86400)
    assert said == (
        f"Kubernetes: no TLS with its API: certificate verify failed: {cause}; "
        "this machine's clock is 3 days ahead of that of srv1: set the wrong one"
    )


def test_a_certificate_of_this_command_that_is_not_accepted_is_told_with_the_clocks(tmp_path: Path) -> None:
    with serving(tmp_path, issue(AUTHORITY)) as port:
        assert ask(Way(port)) == (
            "Kubernetes: Unauthorized (HTTP 401): the certificate of this command is not accepted there; "
            "this machine's clock and that of srv1 agree"
        )


def test_an_api_that_nobody_serves_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "_PAUSE_SECONDS", 0)
    said = ask(Way(1, "nothing answers there at 127.0.0.1:6443"))
    assert said.startswith("Kubernetes: no answer from its API")
    assert said.endswith("; nothing answers there at 127.0.0.1:6443")
