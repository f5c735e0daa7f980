"""How the tasks of `cms cluster test` meet at the first of them and talk to each other; see probe.py."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SECONDS = 5.0  # for one connection, one answer
REPORT_SECONDS = 45.0  # for all that a task does once all have met
Message = dict[str, Any]


def sealed(message: Message) -> bytes:
    """Return a line that only tasks of this job can write."""
    body = json.dumps(message)
    return json.dumps({"body": body, "mac": _mac(body)}).encode() + b"\n"


def opened(line: bytes) -> Message:
    """Return what is in such a line; ValueError where nobody of this job has written it."""
    message = json.loads(line)
    if not hmac.compare_digest(message["mac"], _mac(message["body"])):
        raise ValueError("it is not of this job")
    found: Message = json.loads(message["body"])
    return found


def _mac(body: str) -> str:
    secret = Path(os.environ["CMS_SECRET_FILE"]).read_bytes()
    return hmac.new(secret, body.encode(), hashlib.sha256).hexdigest()


def ask(address: str, message: Message, timeout: float = SECONDS) -> Message:
    """Return what the task at HOST:PORT answers."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(sealed(message))
        with connection.makefile("rb") as answer:
            return opened(answer.readline())


class Server(socketserver.ThreadingTCPServer):
    """Answers each message with what `answer` makes of it."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer: Callable[[Message], Message]) -> None:
        self.answer = answer
        super().__init__((os.environ["CMS_ADDRESS"], int(os.environ["CMS_PORT_MEET"])), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(socketserver.StreamRequestHandler):
    """One message and its answer."""

    timeout = SECONDS

    def handle(self) -> None:
        """Answer, unless it is somebody else who asks."""
        try:
            message = opened(self.rfile.readline(1 << 20))
        except (ValueError, KeyError, OSError):
            return
        self.wfile.write(sealed(self.server.answer(message)))  # type: ignore[attr-defined]


class Meeting:
    """What the first task knows of the others."""

    def __init__(self, expected: int, patience: float) -> None:
        self._expected = expected
        self._deadline = time.monotonic() + patience
        self._came: dict[str, str] = {}
        self._closed: dict[str, str] | None = None
        self._reports: dict[str, Message] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def answer(self, message: Message) -> Message:
        """Take what a task says; `met` is everybody's address, once all have come or the time is over."""
        if message["verb"] == "join":
            return self._join(message)
        if message["verb"] == "report":
            self._take(message)
            self._over.wait(REPORT_SECONDS)
        return {}

    def _join(self, message: Message) -> Message:
        with self._lock:
            if self._closed is None:
                self._came[message["me"]] = message["address"]
                if len(self._came) == self._expected or time.monotonic() > self._deadline:
                    self._closed = dict(self._came)
            if self._closed is not None and message["me"] not in self._closed:
                return {"late": True}
            return {"met": self._closed}

    def _take(self, message: Message) -> None:
        with self._lock:
            self._reports[message["me"]] = message["report"]
            if self._closed is not None and len(self._reports) == len(self._closed):
                self._over.set()

    def reports(self) -> dict[str, Message]:
        """Return what all have found, once they have told it or the time is over."""
        self._over.wait(REPORT_SECONDS)
        with self._lock:
            return dict(self._reports)

    def end(self) -> None:
        """Let everybody go."""
        self._over.set()


def peers() -> Iterator[tuple[str, str, str]]:
    """Yield part, number and HOST:PORT of the tasks known so far."""
    try:
        lines = Path(os.environ["CMS_PEERS_FILE"]).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        part, index, port, address = line.split()
        if port == "meet":
            yield part, index, address


def meet(me: str, patience: float) -> tuple[str, dict[str, str]]:
    """Return where the first task is, and everybody's address; nobody's where it is too late or no way leads there."""
    own = f"{os.environ['CMS_ADDRESS']}:{os.environ['CMS_PORT_MEET']}"
    end = time.monotonic() + patience + SECONDS
    while time.monotonic() < end:
        for part, _, address in peers():
            if part != "head":
                continue
            try:
                answer = ask(address, {"verb": "join", "me": me, "address": own})
            except (OSError, ValueError, KeyError):
                continue
            if answer.get("late"):
                return address, {}
            if answer.get("met"):
                return address, answer["met"]
        time.sleep(0.3)
    return "", {}
