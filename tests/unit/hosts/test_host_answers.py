"""Host scripts that answer a question answer it in any case: "none" is an answer, and no answer is not "none"."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.sshd import Sshd, server

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
from cloudmesh.cluster.core.errors import ClusterError, HostError
from cloudmesh.cluster.hosts import discovery
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


def test_a_host_that_says_nothing_gave_no_answer(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_script, "load", lambda *_: "exit 0\n")
    with connect(server.host(), server.settings()) as connection:
        for question in (read_secrets, discovery.read_marker, plan.read_binary_digests):
            with pytest.raises(HostError, match="gave no answer"):
                question(connection)
