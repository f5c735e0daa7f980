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
from support.task_logs import docker_entry
from support.waiting import wait_until

from cloudmesh.cluster.providers.nomad.docker_log import DockerLog
from cloudmesh.cluster.providers.nomad.job_spec import LOG_LIMIT

IMAGES = importlib.resources.files("cloudmesh.images")
SCRIPTS = [IMAGES / "nomad" / "keep-output.sh", IMAGES / "host" / "shorten-log.pl"]
ALLOCATION, CREATED, ID = "11111111-2222-3333-4444-555555555555", "2026-01-01T00:00:01.5Z", "c" * 64
BEGINNING = "the beginning of a log\n"
# What the script asks of the Docker daemon, answered from a folder.
DOCKER = f"""#!/bin/sh
case $1 in
    /containers/json) echo '[{{"Id":"{ID}","Names":["/a.task-{ALLOCATION}"]}}]' ;;
    /events) exec sleep 60 ;;
    */json) sed "s|ROOT|$DOCKER|" "$DOCKER/description" ;;
    */wait) if [ -e "$DOCKER/ended" ]; then exit 0; else sleep 0.05; exit 28; fi ;;
esac
"""


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
        for script in SCRIPTS:
            (folder / "bin" / script.name).write_text(script.read_text())
        self.describe()
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
        command = ["sh", str(self.folder / "bin" / SCRIPTS[0].name), str(self.folder / "alloc")]
        process = subprocess.Popen(command, env=variables, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def describe(self, *more: str, driver: str = "local", size: int = 1 << 60) -> None:
        """Have Docker describe the container so."""
        logging = f'"LogConfig":{{"Type":"{driver}","Config":{{"max-size":"{size}"}}}}'
        fields = f'"Created":"{CREATED}","HostnamePath":"ROOT/hostname","HostConfig":{{{logging}}}'
        (self.folder / "description").write_text(f"{{{','.join((fields, *more))}}}")

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def end(self) -> None:
        (self.folder / "ended").touch()

    def read(self, suffix: str = "") -> str | None:
        """Return the copy, or what is said about it."""
        path = Path(f"{self.copy}{suffix}")
        return path.read_text() if path.exists() else None

    def wait_for(self, text: str, suffix: str = "") -> None:
        assert wait_until(lambda: self.read(suffix) == text, 20, 0.05), f"{suffix}: {self.read(suffix)}"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host whose container runs."""
    return Host(tmp_path)


def test_a_log_is_copied_as_it_grows_and_its_end_is_told(host: Host):
    with host.copying():
        host.write(BEGINNING)
        host.wait_for(BEGINNING)
        host.write("more\n")
        host.wait_for(f"{BEGINNING}more\n")
        assert host.read(".end") is None
        host.write("last\n")
        host.end()
        host.wait_for("", ".end")
    assert host.read() == f"{BEGINNING}more\nlast\n"


def test_what_was_written_while_nobody_copied_is_copied_later(host: Host):
    with host.copying():
        host.write(BEGINNING)
        host.wait_for(BEGINNING)
    host.write("more\n")
    with host.copying():
        host.wait_for(f"{BEGINNING}more\n")
    host.write("last\n")
    host.end()
    with host.copying():
        host.wait_for("", ".end")
    assert host.read() == f"{BEGINNING}more\nlast\n"


def test_of_a_log_that_is_larger_than_its_limit_the_middle_is_dropped(host: Host):
    host.describe(f'"Labels":{{"{LOG_LIMIT}":"{1 << 20}"}}')
    entries = [docker_entry(b"line %d" % number) for number in range(300_000)]
    with host.copying():
        host.log.write_bytes(b"".join(entries))
        assert wait_until(lambda: bool(host.read(".gap")), 20, 0.05), "never: there is a gap"
        host.end()
        host.wait_for("", ".end")
    start, end, before = map(int, (host.read(".gap") or "").split())
    whole, copy = host.log.read_bytes(), host.copy.read_bytes()
    assert (copy[:start], copy[end:]) == (whole[:start], whole[end:])
    printed = b"".join(chunk.data for chunk in DockerLog().read(whole[:end]))
    assert before == len(printed)
    assert host.copy.stat().st_blocks * 512 < len(copy) / 2


def test_a_log_that_is_within_its_limit_has_no_gap(host: Host):
    with host.copying():
        host.log.write_bytes(docker_entry(b"x" * 100) * 10_000)
        host.end()
        host.wait_for("", ".end")
    assert host.copy.read_bytes() == host.log.read_bytes()
    assert host.read(".gap") == ""


def test_what_was_copied_of_a_large_log_does_not_stay_in_it(host: Host):
    entry = docker_entry(b"x" * 16_000)
    with host.copying():
        host.log.write_bytes(entry * 7_000)
        assert wait_until(lambda: host.log.stat().st_blocks * 512 < 100_000_000, 30, 0.1), "never: it takes less"
        with host.log.open("ab") as file:
            file.write(entry)
        host.end()
        host.wait_for("", ".end")
    assert host.copy.read_bytes() == entry * 7_001


def test_a_container_from_before_the_host_was_started_says_so(host: Host):
    with host.copying():
        host.write(BEGINNING)
        host.wait_for(BEGINNING)
    Path(f"{host.copy}.from").write_text("another start\n")
    host.end()
    with host.copying():
        host.wait_for("restarted\n", ".end")
    assert host.read() == BEGINNING


def test_what_ends_while_the_host_goes_down_is_finished_when_it_is_up_again(host: Host):
    systemctl = host.folder / "bin" / "systemctl"
    systemctl.write_text(f"#!/bin/sh\ntouch {host.folder}/asked\necho stopping\n")
    systemctl.chmod(0o755)
    host.write(BEGINNING)
    host.end()
    with host.copying():
        host.wait_for(BEGINNING)
        assert wait_until((host.folder / "asked").exists, 20, 0.05)
    systemctl.unlink()
    Path(f"{host.copy}.from").write_text("another start\n")
    assert host.read(".end") is None
    with host.copying():
        host.wait_for("restarted\n", ".end")


@pytest.mark.parametrize(("driver", "size"), [("syslog", 1 << 60), ("local", 1 << 20)])
def test_an_output_that_its_job_sends_elsewhere_is_told(host: Host, driver: str, size: int):
    host.describe(driver=driver, size=size)
    host.end()
    with host.copying():
        host.wait_for(f"elsewhere {driver}\n", ".end")
