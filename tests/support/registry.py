"""A real registry, Debian's docker-registry, as a process on a loopback port."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from support.waiting import wait_until

BINARY = shutil.which("docker-registry")

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true}}
"""
_REQUEST = re.compile(r'"([A-Z]+) (\S+) HTTP/')


class RegistryProcess:
    """A registry with its configuration, log and data below `directory`; use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port: int = server.getsockname()[1]
        self._log = directory / "log"

    def __enter__(self) -> RegistryProcess:
        config = self.directory / "config.yml"
        config.write_text(_CONFIG.format(root=self.directory / "data", port=self.port))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([str(BINARY), "serve", str(config)], stdout=log, stderr=log)
        assert wait_until(self._is_listening, 10, pause=0.02), "the registry does not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _is_listening(self) -> bool:
        """Return whether a client gets in; AssertionError: the process has ended."""
        with socket.socket() as probe:
            has_answered = probe.connect_ex(("127.0.0.1", self.port)) == 0
        assert has_answered or self._process.poll() is None, self._log.read_text()
        return has_answered

    def requests(self) -> list[tuple[str, str]]:
        """Return the method and path of every request that has been answered so far, from the access log."""
        time.sleep(0.05)  # it logs a request a moment after it has answered
        return _REQUEST.findall(self._log.read_text())

    def stored(self) -> int:
        """Return how many bytes of blobs there are."""
        return sum(file.stat().st_size for file in (self.directory / "data").glob("**/blobs/sha256/*/*/data"))
