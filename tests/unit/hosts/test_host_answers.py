"""Host scripts that answer a question answer it in any case: "none" is an answer, and no answer is not "none"."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.sshd import Sshd, server

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, HostPlan
from cloudmesh.cluster.core.errors import ClusterError, HostError
from cloudmesh.cluster.core.model import Facts, Host, Node, Role
from cloudmesh.cluster.hosts import discovery, members
from cloudmesh.cluster.lifecycle import plan
from cloudmesh.cluster.providers.open_cluster import read_secrets
from cloudmesh.cluster.ssh import host_script
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["server"]

SECRETS = ClusterSecrets(certificates.new_authority("demo"), {"token": "t0ken"})


@pytest.fixture(autouse=True)
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the scripts look below a folder of the test; return it."""
    load = host_script.load

    def load_moved(*names: str) -> str:
        return load(*names).replace("/etc/cloudmesh", f"{tmp_path}/etc").replace("/opt/cloudmesh", f"{tmp_path}/opt")

    monkeypatch.setattr(host_script, "load", load_moved)
    (tmp_path / "etc/cluster").mkdir(parents=True)
    return tmp_path


def test_secrets_that_are_there_not_there_and_damaged_are_told_apart(server: Sshd, below: Path) -> None:
    with connect(server.host(), server.settings()) as connection:
        assert read_secrets(connection) is None
        file = below / "etc/cluster/secrets.json"
        file.write_bytes(SECRETS.dumps())
        assert read_secrets(connection) == SECRETS
        for damaged in ("", "{", json.dumps({"ca": "x"}), "[]"):
            file.write_text(damaged)
            with pytest.raises(HostError, match=r"secrets there .* are damaged"):
                read_secrets(connection)


def test_a_marker_that_is_damaged_is_not_a_host_of_no_cluster(server: Sshd, below: Path) -> None:
    with connect(server.host(), server.settings()) as connection:
        assert discovery.read_marker(connection) is None
        (below / "etc/cluster/marker.json").write_text("")
        with pytest.raises(ClusterError, match="damaged"):
            discovery.read_marker(connection)


def test_a_server_without_binaries_is_named(server: Sshd, below: Path) -> None:
    with connect(server.host(), server.settings()) as connection:
        with pytest.raises(HostError, match="the engine's binaries are not there"):
            plan.read_binary_digests(connection)
        binaries = below / "opt/bin"
        binaries.mkdir(parents=True)
        (binaries / "nomad").write_text("x")
        (binaries / "half.new").write_text("x")
        assert list(plan.read_binary_digests(connection)) == ["nomad"]


NOTHING = members.MemberList((), False)


def plan_of(address: str) -> HostPlan:
    facts = Facts("m", "h", address, "debian-13", "amd64", 2, 4096, 20000, 0, 0)
    return HostPlan(Host(f"srv-{address}"), facts, Role.WORKER, True, f"ops@{address}:22", "ssh-ed25519 AAAA")


def test_a_server_notes_which_hosts_have_something_of_the_cluster(server: Sshd, below: Path) -> None:
    with connect(server.host(), server.settings()) as connection:
        members.add(connection, [plan_of("10.0.0.1")], NOTHING)  # no server yet: it has no marker
        assert members.read(connection) == NOTHING
        (below / "etc/cluster/marker.json").write_text("{}")
        members.add(connection, [plan_of("10.0.0.1"), plan_of("10.0.0.2")], NOTHING)
        members.add(connection, [plan_of("10.0.0.2"), plan_of("10.0.0.3")], NOTHING)
        nodes = members.read(connection).nodes
        assert [node.address for node in nodes] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        node = Node("srv-10.0.0.2", "10.0.0.2", (Role.WORKER,), "unknown")
        assert nodes[1] == replace(node, contact="ops@10.0.0.2:22", host_key="ssh-ed25519 AAAA")
        members.drop(connection, ["10.0.0.1", "10.0.0.3", "10.0.0.9"])
        assert [node.address for node in members.read(connection).nodes] == ["10.0.0.2"]
        members.drop(connection, ["10.0.0.2"])
        assert members.read(connection).nodes == ()


def test_a_server_keeps_out_hosts_until_they_join_or_are_clean(server: Sshd, below: Path) -> None:
    folder = below / "etc/cluster"
    (folder / "marker.json").write_text("{}")
    # What the rules are is told by the firewall of real hosts (tests/faults).
    (folder / "barred.sh").write_text(f'cp "{folder}/barred" "{folder}/set"')
    with connect(server.host(), server.settings()) as connection:
        members.bar(connection, ["10.0.0.2", "10.0.0.3"])
        members.bar(connection, ["10.0.0.4", "10.0.0.2"])
        assert members.read(connection).barred == ("10.0.0.2", "10.0.0.3", "10.0.0.4")
        members.add(connection, [plan_of("10.0.0.3")], members.MemberList((), True, ("10.0.0.5",)))
        members.drop(connection, ["10.0.0.2"])
        assert members.read(connection).barred == ("10.0.0.4", "10.0.0.5")
        assert (folder / "set").read_text() == "10.0.0.4\n10.0.0.5\n"
        (folder / "barred.sh").write_text("echo no such kernel; exit 1")
        with pytest.raises(HostError, match="hosts cannot be kept out by nftables: no such kernel"):
            members.bar(connection, ["10.0.0.6"])


def test_a_host_that_says_nothing_gave_no_answer(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_script, "load", lambda *_: "exit 0\n")
    with connect(server.host(), server.settings()) as connection:
        for question in (read_secrets, discovery.read_marker, plan.read_binary_digests):
            with pytest.raises(HostError, match="gave no answer"):
                question(connection)
        with pytest.raises(HostError, match="makes no sense"):
            members.read(connection)
