"""Which clusters there are: what a Docker daemon that is silent may not be taken for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.listener import listening

from cloudmesh.cluster.core.context import Context, SshSettings
from cloudmesh.cluster.core.errors import ImageError, NotFoundError
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import discovery
from cloudmesh.cluster.hosts.local import local_hosts


@dataclass
class Notes(Silence):
    """Keeps the notes."""

    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)


def context(directory: Path) -> Context:
    return Context(SshSettings(known_hosts=directory / "known_hosts"), Notes(), "me@here")


@pytest.fixture
def silent_daemon(monkeypatch: pytest.MonkeyPatch):
    """A Docker daemon that takes connections and says nothing."""
    monkeypatch.setattr(local_hosts, "_FIND_SECONDS", 0.5)
    with listening(lambda client: time.sleep(20)) as port:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        yield


def test_a_cluster_that_may_be_one_of_local_hosts_is_not_said_to_be_missing(silent_daemon, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"prod may be one of local hosts, .*did not answer in time") as caught:
        discovery.find(context(tmp_path), "prod")
    assert caught.value.exit_code == 1


def test_a_list_of_clusters_without_the_local_ones_says_so(silent_daemon, tmp_path: Path) -> None:
    operator = context(tmp_path)
    assert discovery.find_all(operator) == []
    assert [note for note in operator.report.notes if "local hosts could not be asked for" in note]


def test_where_no_docker_daemon_runs_there_are_no_local_hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(NotFoundError, match="no cluster called prod: there is no host to ask"):
        discovery.find(context(tmp_path), "prod")


def test_hosts_that_are_silent_are_told_where_no_cluster_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    operator = context(tmp_path)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    operator.settings.known_hosts.write_text(f"[127.0.0.1]:1 {key}\n")
    assert discovery.find_all(operator) == []
    (note,) = operator.report.notes
    assert note == "no answer from 127.0.0.1:1: whether they are of a cluster is not known"
