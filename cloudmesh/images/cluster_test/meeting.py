"""Lets the tasks of `cms cluster test` meet at the first task and exchange signed messages; see probe.py."""

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

SECONDS = 5.0  # for a connection and an answer
REPORT_SECONDS = 45.0  # for everything that a task does after the meeting
Message = dict[str, Any]


def sign(message: Message) -> bytes:
    """Return the message as a line of JSON, signed with the job's secret."""
    body = json.dumps(message)
    return json.dumps({"body": body, "mac": _mac(body)}).encode() + b"\n"


def verify(line: bytes) -> Message:
    """Return the message of a line that `sign` made.

    Raises:
        ValueError: the line is not JSON, or the signature is not that of this job's secret.
        KeyError: the line has no signature or no message.
    """
    envelope = json.loads(line)
    if not hmac.compare_digest(envelope["mac"], _mac(envelope["body"])):
        raise ValueError("it is not of this job")
    message: Message = json.loads(envelope["body"])
    return message


def _mac(body: str) -> str:
    secret = Path(os.environ["CMS_SECRET_FILE"]).read_bytes()
    return hmac.new(secret, body.encode(), hashlib.sha256).hexdigest()


def ask(address: str, message: Message, timeout: float = SECONDS) -> Message:
    """Send a message to the task at HOST:PORT, and return the answer."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(sign(message))
        with connection.makefile("rb") as answer:
            return verify(answer.readline())


class Server(socketserver.ThreadingTCPServer):
    """Answers each message with what `answer` returns for it."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer: Callable[[Message], Message]) -> None:
        self.answer = answer
        super().__init__((os.environ["CMS_ADDRESS"], int(os.environ["CMS_PORT_MEET"])), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(socketserver.StreamRequestHandler):
    """Handles one connection: a message and the answer."""

    timeout = SECONDS

    def handle(self) -> None:
        """Answer a message; one that is not of this job gets no answer."""
        try:
            message = verify(self.rfile.readline(1 << 20))
        except (ValueError, KeyError, OSError):
            return
        self.wfile.write(sign(self.server.answer(message)))  # type: ignore[attr-defined]


class Meeting:
    """What the first task knows about the others.

    Args:
        expected: how many tasks should come.
        patience: seconds to wait for them.
    """

    def __init__(self, expected: int, patience: float) -> None:
        self._expected = expected
        self._deadline = time.monotonic() + patience
        self._came: dict[str, str] = {}
        self._closed: dict[str, str] | None = None
        self._reports: dict[str, Message] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def answer(self, message: Message) -> Message:
        """Answer a message with one of these verbs.

        join: a task has come. The answer has `met`, the address of each task by its number, or None until all have come
            or the time is over. It has `late` instead for a task that comes after that.
        report: a task's report. The answer comes when all have reported or the time is over.
        Any other: the answer is empty.
        """
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
        """Wait until all have reported or the time is over, and return the reports by task."""
        self._over.wait(REPORT_SECONDS)
        with self._lock:
            return dict(self._reports)

    def end(self) -> None:
        """Let the tasks go that wait for an answer to their report."""
        self._over.set()


def peers() -> Iterator[tuple[str, str, str]]:
    """Yield group, number and HOST:PORT of the tasks in the peers file."""
    try:
        lines = Path(os.environ["CMS_PEERS_FILE"]).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        group, index, port, address = line.split()
        if port == "meet":
            yield group, index, address


def meet(me: str, patience: float) -> tuple[str, dict[str, str]]:
    """Join the meeting.

    Returns:
        The address of the first task, and the address of each task by its number. There are no addresses where this
        task came too late, or where the first task cannot be reached; then its address is empty.
    """
    my_address = f"{os.environ['CMS_ADDRESS']}:{os.environ['CMS_PORT_MEET']}"
    end = time.monotonic() + patience + SECONDS
    while time.monotonic() < end:
        for group, _, address in peers():
            if group != "head":
                continue
            try:
                answer = ask(address, {"verb": "join", "me": me, "address": my_address})
            except (OSError, ValueError, KeyError):
                continue
            if answer.get("late"):
                return address, {}
            if answer.get("met"):
                return address, answer["met"]
        time.sleep(0.3)
    return "", {}
