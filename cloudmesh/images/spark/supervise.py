"""Runs a Spark process that depends on a master: `supervise.py worker|driver COMMAND…` (see entrypoint.sh).

worker: waits until the address in the file $CMS_MASTER_FILE answers, and runs COMMAND with it. When the master has
gone, the worker follows it to the address that the file names by then, or ends with 0. It also ends with 0 if no master
answers in time.
driver: waits for $CMS_MASTER, runs COMMAND, and ends with its status, or with 124 after $CMS_TIMEOUT_SECONDS.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

TIMED_OUT = 124
UNAVAILABLE = 69
GRACE = 10.0
REFUSED_FOR = 5.0
SILENT_FOR = 60.0


def say(text: str) -> None:
    """Write a line to the log."""
    sys.stderr.write(f"supervise: {text}\n")
    sys.stderr.flush()


def seconds(name: str, default: float) -> float:
    """Return the number in the environment variable `name`."""
    return float(os.environ.get(name) or default)


def dial(address: str) -> socket.socket:
    """Return a connection to HOST:PORT."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=3)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection


def answers(address: str) -> bool:
    """Return whether HOST:PORT accepts connections."""
    try:
        dial(address).close()
    except (OSError, ValueError):
        return False
    return True


class Watch:
    """A connection to the master that stays open, so that its end is seen at once; when cut, it is opened again."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: socket.socket | None = None
        self._seen = time.monotonic()
        self.refused = False

    @property
    def silence(self) -> float:
        """Seconds since the master was last there."""
        return time.monotonic() - self._seen

    def look(self) -> None:
        """Check whether the master is there."""
        self.refused = False
        try:
            self._connection = self._connection or dial(self._address)
            self._connection.settimeout(0)
            if not self._connection.recv(1):
                raise ConnectionResetError
        except BlockingIOError:  # the master sends nothing, which is the normal state
            self._seen = time.monotonic()
        except OSError as error:
            self.refused = isinstance(error, ConnectionRefusedError)
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None


def wait_for(address: Callable[[], str], timeout: float) -> str:
    """Wait until the master answers, and return its address; empty if it does not answer within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        master = address()
        if master and answers(master):
            return master
        if time.monotonic() >= deadline:
            return ""
        time.sleep(0.5)


class Child:
    """A process that is terminated when this process gets SIGTERM or SIGINT."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - a command of the image
        self.stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True
        self._process.terminate()

    def wait(self, timeout: float) -> int | None:
        """Return the exit status as a shell counts it; None if the process still runs after `timeout` seconds."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        return status if status >= 0 else 128 - status

    def end(self) -> None:
        """Terminate the process, and kill what it has started; SIGKILL follows after `GRACE` seconds."""
        self._process.terminate()
        self.wait(GRACE)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait()


def run_beside(master: str, address: Callable[[], str], command: Sequence[str]) -> int | None:
    """Run `command` until it ends or the master has gone; return its status, or None where the master has gone."""
    child = Child(command)
    watch = Watch(master)
    while (status := child.wait(0.5)) is None:
        watch.look()
        gone = watch.refused and (watch.silence > REFUSED_FOR or not address())
        if not child.stopping and (gone or watch.silence > SILENT_FOR):
            child.end()
            break
    watch.close()
    return status


def worker(command: Sequence[str]) -> int:
    """Run the worker `command MASTER-URL` for as long as there is a master."""
    path = Path(os.environ["CMS_MASTER_FILE"])

    def address() -> str:
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    patience = seconds("CMS_WAIT_SECONDS", 600)
    master = wait_for(address, patience)
    if not master:
        say(f"no master has answered in {patience:.0f} s; nothing to do")
    while master:
        status = run_beside(master, address, [*command, f"spark://{master}"])
        if status is not None:
            return status
        say(f"the master at {master} has gone")
        master = wait_for(address, 0)
    return 0


def driver(command: Sequence[str]) -> int:
    """Run spark-submit once the master answers."""
    master = os.environ["CMS_MASTER"]
    timeout = seconds("CMS_TIMEOUT_SECONDS", 0) or float(2**31)
    patience = seconds("CMS_WAIT_SECONDS", 600)
    if "://" not in master and not wait_for(lambda: master, min(timeout, patience)):
        say(f"the master at {master} does not answer")
        return UNAVAILABLE
    child = Child(command)
    status = child.wait(timeout)
    if status is not None:
        return status
    say(f"the time of {timeout:.0f} s is over")
    child.end()
    return TIMED_OUT


def main() -> int:
    """Run the role that is named first."""
    role, command = sys.argv[1], sys.argv[2:]
    # PID 1 gets only signals that it has a handler for. While it waits for the master, there is nothing else to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return worker(command) if role == "worker" else driver(command)


if __name__ == "__main__":
    sys.exit(main())
