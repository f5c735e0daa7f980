"""The host's copy of Docker's log of a container: whole, whatever happens to the log or to who copies it."""

from __future__ import annotations

import importlib.resources
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.waiting import wait_until

SCRIPT = importlib.resources.files("cloudmesh.images") / "nomad" / "keep-output.sh"
ALLOCATION, CREATED, ID = "11111111-2222-3333-4444-555555555555", "2026-01-01T00:00:01.5Z", "c" * 64
# What the script asks of the Docker daemon, answered from a folder.
DOCKER = f"""#!/bin/sh
echo "$*" >>"$DOCKER/asked"
case $1 in
    /containers/json) echo '[{{"Id":"{ID}","Names":["/a.task-{ALLOCATION}"]}}]' ;;
    /events) exec sleep 60 ;;
    */json) sed "s|ROOT|$DOCKER|" "$DOCKER/description" ;;
    */wait) if [ -e "$DOCKER/ended" ]; then exit 0; else sleep 0.05; exit 28; fi ;;
esac
"""
LOGGING = '"HostConfig":{"LogConfig":{"Type":"local"}}'
DESCRIPTION = f'{{"Created":"{CREATED}","HostnamePath":"ROOT/hostname",{LOGGING}}}'


class Host:
    """A host with one container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "local-logs" / "container.log"
        self.copy = folder / "alloc" / ALLOCATION / f"output.a.task.{CREATED}"
        for path in (self.log.parent, self.copy.parent, folder / "bin", folder / "run"):
            path.mkdir(parents=True)
        (folder / "bin" / "docker_api").write_text(DOCKER)
        (folder / "bin" / "docker_api").chmod(0o755)
        (folder / "description").write_text(DESCRIPTION)
        self.log.touch()

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Run the script; it is killed at the end, with all that it has started."""
        variables = {
            **os.environ,
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "DOCKER": str(self.folder),
            "RUNTIME_DIRECTORY": f"{self.folder}/run",
        }
        command = ["sh", str(SCRIPT), str(self.folder / "alloc")]
        process = subprocess.Popen(command, env=variables, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def rotate(self, text: str) -> None:
        """Begin another file, as the daemon does when the log is large."""
        self.log.replace(f"{self.log}.1")
        self.log.write_text(text)

    def end(self) -> None:
        (self.folder / "ended").touch()

    def read(self, suffix: str = "") -> str | None:
        """Return the copy, or what is said about it."""
        path = Path(f"{self.copy}{suffix}")
        return path.read_text() if path.exists() else None

    def wait_for(self, text: str, suffix: str = "") -> None:
        assert wait_until(lambda: self.read(suffix) == text, 20, 0.05), f"{suffix}: {self.read(suffix)}"

    def wait_until_asked(self, times: int) -> None:
        """Wait until the script has looked at the log so many times more."""
        before = self._count_looks()
        assert wait_until(lambda: self._count_looks() >= before + times, 20, 0.05)

    def _count_looks(self) -> int:
        return (self.folder / "asked").read_text().count("/wait")


def part(number: int) -> str:
    """Return what is in one file of the log; its beginning tells it from others."""
    return f"file {number} of the log, as it begins and goes on\n"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host whose container runs."""
    return Host(tmp_path)


def test_a_log_is_copied_as_it_grows_and_its_end_is_told(host: Host):
    with host.copying():
        host.write(part(1))
        host.wait_for(part(1))
        host.write("more\n")
        host.wait_for(f"{part(1)}more\n")
        assert host.read(".end") is None
        host.write("last\n")
        host.end()
        host.wait_for("", ".end")
    assert host.read() == f"{part(1)}more\nlast\n"
    assert host.read(".gap") is None


def test_what_was_written_while_nobody_copied_is_copied_later(host: Host):
    with host.copying():
        host.write(part(1))
        host.wait_for(part(1))
    host.write("more\n")
    with host.copying():
        host.wait_for(f"{part(1)}more\n")
    host.write("last\n")
    host.end()
    with host.copying():
        host.wait_for("", ".end")
    assert host.read() == f"{part(1)}more\nlast\n"


@pytest.mark.parametrize("files", [2, 3])
def test_what_is_in_the_last_two_files_beside_the_first_is_all_there(host: Host, files: int):
    with host.copying():
        host.write(part(1))
        host.wait_for(part(1))
        for number in range(2, files + 1):
            host.rotate(part(number))
            host.wait_until_asked(3)
        host.end()
        host.wait_for("", ".end")
    assert host.read() == "".join(map(part, range(1, files + 1)))
    assert host.read(".gap") is None


def test_how_much_is_missing_between_the_first_and_the_last_files_is_told(host: Host):
    with host.copying():
        host.write(part(1))
        host.wait_for(part(1))
        for number in range(2, 6):
            host.rotate(part(number))
            host.wait_until_asked(3)
        host.end()
        host.wait_for("", ".end")
    assert host.read() == part(1) + part(4) + part(5)
    assert host.read(".gap") == f"{len(part(1))} 2000000000\n"


def test_a_log_that_went_on_in_another_file_while_nobody_copied_is_whole(host: Host):
    with host.copying():
        host.write(part(1))
        host.wait_for(part(1))
    host.write("more\n")
    host.rotate(part(2))
    with host.copying():
        host.wait_for(f"{part(1)}more\n")
        host.end()
        host.wait_for("", ".end")
    assert host.read() == f"{part(1)}more\n{part(2)}"


def test_a_container_from_before_the_host_was_started_says_so(host: Host):
    with host.copying():
        host.write(part(1))
        host.wait_for(part(1))
    Path(f"{host.copy}.from").write_text("another start\n")
    host.end()
    with host.copying():
        host.wait_for("restarted\n", ".end")
    assert host.read() == part(1)


def test_an_output_that_its_job_sends_elsewhere_is_told(host: Host):
    (host.folder / "description").write_text(DESCRIPTION.replace('"local"', '"syslog"'))
    host.end()
    with host.copying():
        host.wait_for("elsewhere syslog\n", ".end")
