"""A small HTTP server in the place of an engine's API, which keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Answer(NamedTuple):
    """What is answered: `body` as JSON."""

    body: Any
    headers: Mapping[str, str] = {}
    status: int = 200


Answering = Callable[[str, Mapping[str, str]], Answer]
"""Takes a path and the parameters of its query."""


@dataclass
class HttpApi:
    """A running server.

    Attributes:
        url: where it is.
        asked: path and query of each request.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def answering(answer: Answering) -> Iterator[HttpApi]:
    """Yield a server that answers every GET by `answer`."""
    api = HttpApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.asked.append(self.path)
            parts = urlsplit(self.path)
            answered = answer(parts.path, dict(parse_qsl(parts.query)))
            body = json.dumps(answered.body).encode()
            self.send_response(answered.status)
            for name, value in {"Content-Length": str(len(body)), **answered.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
