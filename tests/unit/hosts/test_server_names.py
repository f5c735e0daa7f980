"""The names of the servers in a host's /etc/hosts, by the script that hosts run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudmesh.cluster.ssh import host_script

THEIRS = "127.0.0.1\tlocalhost\n\n# a comment\n10.9.9.9 registry.cloudmesh.example\n10.9.9.8 x.cloudmesh other\n"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder that stands for a host: its file of hosts, and the cluster's configuration with one name."""
    (tmp_path / "hosts").write_text(THEIRS)
    (tmp_path / "names").mkdir()
    list_servers(tmp_path, "10.0.0.2", "10.0.0.1")
    return tmp_path


def list_servers(host: Path, *addresses: str) -> None:
    (host / "names" / "registry.cloudmesh").write_text("".join(f"{address}\n" for address in addresses))


def run(host: Path, verb: str) -> str:
    script = host_script.load("host/names.sh")
    for there, here in (("/etc/cloudmesh/cluster", str(host)), ("hosts=/etc/hosts", f"hosts={host}/hosts")):
        assert there in script
        script = script.replace(there, here)
    subprocess.run(["sh", "-c", script, "names", verb], check=True)
    return (host / "hosts").read_text()


def test_a_name_has_all_servers_in_their_order_and_the_hosts_own_lines_stay(host: Path) -> None:
    expected = f"{THEIRS}10.0.0.2 registry.cloudmesh\n10.0.0.1 registry.cloudmesh\n"
    assert run(host, "set") == expected
    assert run(host, "set") == expected


def test_other_servers_take_the_place_of_those_before(host: Path) -> None:
    run(host, "set")
    list_servers(host, "10.0.0.3")
    assert run(host, "set") == f"{THEIRS}10.0.0.3 registry.cloudmesh\n"


def test_all_names_go_and_the_file_is_overwritten_not_replaced(host: Path) -> None:
    before = (host / "hosts").stat().st_ino
    (host / "names" / "api.cloudmesh").write_text("10.0.0.1\n")
    assert run(host, "set").count(".cloudmesh\n") == 3
    assert run(host, "clear") == THEIRS
    assert (host / "hosts").stat().st_ino == before
    assert sorted(path.name for path in host.iterdir()) == ["hosts", "names"]
