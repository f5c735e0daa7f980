"""Checks, on a host of the cluster, whether tasks reach each other, DNS and the volumes; `cms cluster test` runs it.

    probe.py SECONDS COUNT

One task runs on each host. The first task is the meeting point: it waits SECONDS for COUNT tasks to come, and prints
the report of each task as a line of JSON. The environment is that of any task (cloudmesh/cluster/spec/task_groups.py),
and CMS_PROBE is the task's number, CMS_PROBE_STORAGE the mounted volumes as JSON, {NAME: DIRECTORY}.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from meeting import REPORT_SECONDS, SECONDS, Meeting, Message, Server, ask, meet, peers

SEEN_SECONDS = 10.0  # NFS clients look for new files only after a while


def reached(met: Mapping[str, str]) -> dict[str, str]:
    """Return for each task why it cannot be reached; an empty text where it can."""

    def knock(address: str) -> str:
        try:
            ask(address, {"verb": "hello"})
        except (OSError, ValueError, KeyError) as error:
            return str(error) or type(error).__name__
        return ""

    with ThreadPoolExecutor(32) as pool:
        return dict(zip(met, pool.map(knock, met.values()), strict=True))


def dns(met: Mapping[str, str]) -> dict[str, str]:
    """Check whether the names of other tasks are resolved; where tasks have no names, whether a resolver answers."""
    names = {host for _, _, address in peers() if not _is_number(host := address.rpartition(":")[0])}
    if not names:
        return _resolver()
    addresses = {address.rpartition(":")[0] for address in met.values()}
    for name in sorted(names):
        try:
            resolved = _resolved(name)
        except OSError as error:
            # A task that did not come may have no name, either.
            if len(addresses) == len(names):
                return {"failed": f"{name}: {error}"}
            continue
        if len(addresses) == len(names) and not resolved & addresses:
            return {"failed": f"{name} is {', '.join(sorted(resolved))}, where no task is"}
    return {"ok": f"{len(names)} names of tasks"}


def _resolved(name: str) -> set[str]:
    """Return the addresses of a name; a new name may need some tries."""
    for wait in (1.0, 3.0, 0.0):
        try:
            return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, socket.AF_INET)}
        except OSError:
            if not wait:
                raise
        time.sleep(wait)
    return set()


def _resolver() -> dict[str, str]:
    """Check whether the host's resolver answers at all; any answer counts."""
    file = Path("/etc/resolv.conf")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    servers = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    if not servers:
        return {"skipped": "tasks have no names on this engine, and the host has no resolver"}
    question = struct.pack(">6H", os.getpid() & 0xFFFF, 0x100, 1, 0, 0, 0) + b"\0" + struct.pack(">2H", 2, 1)
    for server in servers:
        with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(2.0)
            try:
                asking.sendto(question, (server, 53))
                asking.recv(512)
            except OSError:
                continue
            return {"ok": f"the resolver at {server} answers"}
    return {"failed": f"no answer from the resolver at {', '.join(servers)}"}


def _is_number(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return False
    return True


class Storage:
    """A mounted volume, and the file that this task writes there for the others.

    Args:
        folder: where it is mounted.
        me: the number of this task.
    """

    def __init__(self, folder: str, me: str) -> None:
        self._folder, self._me = Path(folder), me
        self._file = self._path(me)
        self.failure = ""

    def write(self) -> None:
        """Write the file."""
        try:
            self._file.write_text(self._content(self._me), encoding="ascii")
        except OSError as error:
            self.failure = f"cannot be written: {error.strerror}"

    def compare(self, met: Mapping[str, str]) -> Message:
        """Return the tasks whose files are seen here, as `seen`, or as `failed` what is wrong."""
        if self.failure:
            return {"failed": self.failure}
        end = time.monotonic() + SEEN_SECONDS
        try:
            while len(seen := [task for task in met if self._path(task).exists()]) < len(met):
                # Where no other task's file is seen after half of the time, each host has a directory of its own.
                if time.monotonic() > end or (len(seen) < 2 and time.monotonic() > end - SEEN_SECONDS / 2):
                    break
                time.sleep(0.5)
            wrong = [task for task in seen if self._path(task).read_text("ascii") != self._content(task)]
        except OSError as error:
            return {"failed": f"cannot be read: {error.strerror}"}
        return {"failed": f"what task {wrong[0]} wrote is read otherwise here"} if wrong else {"seen": seen}

    def clear(self) -> None:
        """Remove the file."""
        try:
            self._file.unlink(missing_ok=True)
        except OSError:
            return

    def _path(self, task: str) -> Path:
        return self._folder / f".cms-test-{os.environ['CMS_JOB_ID']}-{task}"

    def _content(self, task: str) -> str:
        return hashlib.sha256(f"{os.environ['CMS_JOB_ID']} {task}".encode()).hexdigest() * 64


def examine(me: str, met: Mapping[str, str], volumes: Mapping[str, Storage]) -> Message:
    """Return the report of this task."""
    return {
        "me": me,
        "reached": reached(met),
        "dns": dns(met),
        "storage": {name: volume.compare(met) for name, volume in volumes.items()},
    }


def main() -> int:
    """Join the meeting and report to the first task; the first task prints all reports."""
    patience, expected, me = float(sys.argv[1]), int(sys.argv[2]), os.environ["CMS_PROBE"]
    volumes = {name: Storage(path, me) for name, path in json.loads(os.environ["CMS_PROBE_STORAGE"]).items()}
    for volume in volumes.values():
        volume.write()
    meeting = Meeting(expected, patience) if os.environ["CMS_TASK"].startswith("head") else None
    server = Server(meeting.answer if meeting else lambda _: {})
    try:
        head, met = meet(me, patience)
        report = examine(me, met, volumes) if met else {}
        if meeting:
            meeting.answer({"verb": "join", "me": me, "address": ""})
            threading.Thread(target=meeting.answer, args=({"verb": "report", "me": me, "report": report},)).start()
            for task_report in meeting.reports().values():
                sys.stdout.write(json.dumps(task_report) + "\n")
            sys.stdout.flush()
            meeting.end()
            time.sleep(1.0)  # the other tasks get their answers
        elif met:
            ask(head, {"verb": "report", "me": me, "report": report}, REPORT_SECONDS + SECONDS)
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"probe: {error}\n")
    finally:
        for volume in volumes.values():
            volume.clear()
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
