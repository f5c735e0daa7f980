"""What a host script cannot read of a host is not empty: nothing of the host's own is taken for ours and removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cloudmesh.cluster.ssh import host_script

PACKAGES = "printf 'ii  bash\\nii  vim\\n'"
FIREWALL = "printf '%s\\n' '-P FORWARD ACCEPT' '-A FORWARD -i docker0'"


class Machine:
    """A folder that stands for a host: what the scripts keep of it, and the tools that they find."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self.tools = folder / "bin"
        self.tools.mkdir()
        self.calls = folder / "calls"
        self.calls.touch()

    def has(self, tool: str, body: str) -> None:
        file = self.tools / tool
        file.write_text(f'#!/bin/sh\necho "{tool} $*" >>"{self.calls}"\n{body}\n')
        file.chmod(0o755)

    def run(self, command: str) -> tuple[int, str]:
        """Return exit status and stdout of a command that uses the scripts' functions."""
        script = host_script.load("host/lib.sh", "host/clean.sh").replace("/var/lib/cloudmesh/host", str(self.state))
        path = f"{self.tools}:{os.environ['PATH']}"
        result = subprocess.run(
            ["sh", "-c", f"{script}\n{command}"],
            env={"PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout

    def called(self, text: str) -> bool:
        return text in self.calls.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("answer", ["exit 2", "exit 0", f"{PACKAGES}; exit 2"], ids=["error", "nothing", "cut off"])
def test_packages_that_are_not_listed_are_not_none(machine: Machine, answer: str) -> None:
    machine.has("dpkg-query", answer)
    status, said = machine.run("keep packages.before installed_packages")
    assert status == 1
    assert "::fail what the host is like cannot be kept: dpkg-query" in said
    assert not (machine.state / "packages.before").exists()


def test_packages_that_are_listed_are_kept(machine: Machine) -> None:
    machine.has("dpkg-query", PACKAGES)
    assert machine.run("keep packages.before installed_packages") == (0, "")
    assert (machine.state / "packages.before").read_text() == "bash\nvim\n"


def test_packages_that_are_not_listed_at_the_end_are_not_purged(machine: Machine) -> None:
    (machine.state / "packages.before").write_text("bash\n")
    machine.has("dpkg-query", "exit 2")
    machine.has("apt-get", "exit 0")
    status, said = machine.run("purge_packages")
    assert status == 1
    assert "::fail dpkg-query does not list the packages" in said
    assert not machine.called("purge")


def test_packages_are_not_purged_where_apt_does_not_say_what_would_go_with_them(machine: Machine) -> None:
    (machine.state / "packages.ours").write_text("docker.io\n")
    machine.has("apt-get", "echo E: broken; case $* in *-s*) exit 100 ;; esac")
    status, said = machine.run("purge_packages")
    assert status == 1
    assert "::fail apt-get does not say what would go with our packages: E: broken" in said
    assert not machine.called("apt-get -q")


def test_a_firewall_that_is_busy_is_not_an_empty_one(machine: Machine) -> None:
    for tool in ("iptables", "ip6tables"):
        machine.has(tool, "echo Another app is currently holding the xtables lock >&2; exit 4")
    status, said = machine.run("keep firewall firewall")
    assert status == 1
    assert "the rules of the firewall cannot be read: Another app is currently holding" in said


def test_a_firewall_that_lacks_a_table_is_kept_without_it(machine: Machine) -> None:
    machine.has("iptables", f"case $* in *nat*) {FIREWALL} ;; *) exit 3 ;; esac")
    machine.has("ip6tables", "exit 3")
    assert machine.run("keep firewall firewall") == (0, "")
    assert (machine.state / "firewall").read_text() == (
        "iptables nat -P FORWARD ACCEPT\niptables nat -A FORWARD -i docker0\n"
    )


@pytest.mark.parametrize("answer", ["exit 1", "echo 'table ip filter {'; kill -PIPE $$"], ids=["error", "cut off"])
def test_a_table_of_the_firewall_that_is_not_listed_is_not_deleted(machine: Machine, answer: str) -> None:
    machine.has("nft", f"case $* in 'list tables') echo table ip filter ;; list*) {answer} ;; esac")
    assert machine.run("drop_empty_tables") == (0, "")
    assert not machine.called("nft delete")


def test_a_table_of_the_firewall_that_is_empty_is_deleted(machine: Machine) -> None:
    machine.has(
        "nft", "case $* in 'list tables') echo table ip filter ;; list*) echo 'table ip filter {'; echo } ;; esac"
    )
    machine.run("drop_empty_tables")
    assert machine.called("nft delete table ip filter")


def test_a_place_that_is_as_it_was_is_not_touched_as_it_may_be_read_only(machine: Machine, tmp_path: Path) -> None:
    place = tmp_path / "modules"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    for tool in ("chown", "chmod"):
        machine.has(tool, "echo Read-only file system >&2; exit 1")
    owner = f"{os.getuid()}:{os.getgid()}"
    assert machine.run(f"restore_places '755 {owner} {place}'") == (0, "")
    assert not machine.called("ch")
    status, said = machine.run(f"restore_places '700 {owner} {place}'; echo the rest")
    assert status == 0
    assert said == (
        f"::note {place} could not be made what it was before, 700 {owner}: Read-only file system\nthe rest\n"
    )
