"""A backup has what a cluster is, says what it is worth, and waits for new certificates that are on their way."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine
from support.notes import Notes

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.encryption import Lock, Opener
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Host, Marker, Role
from cloudmesh.cluster.hosts import lock, members
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.hosts.members import MemberList
from cloudmesh.cluster.lifecycle import backup, backup_file

SERVER = Host("one")
SECRETS = ClusterSecrets(certificates.new_authority("demo"), {"token": "t0ken"})
SPEC = ClusterSpec("demo", "abc", "memory", ("10.0.0.1",), SECRETS, 3)


def save(monkeypatch: pytest.MonkeyPatch, spec: ClusterSpec, file: Path, encrypted: Lock) -> list[str]:
    """Back up a cluster of one server; return what was noted."""
    opened = SimpleNamespace(spec=spec, server=None, engine=lambda: nullcontext(MemoryEngine()))
    monkeypatch.setattr(backup, "open_discovered", lambda *_: opened)
    monkeypatch.setattr(lock, "hold", lambda *_: SimpleNamespace(release=lambda: None))
    monkeypatch.setattr(members, "read", lambda _: MemberList((), True, ("10.0.0.9",)))
    marker = Marker("demo", "abc", "memory", Role.SERVER, "10.0.0.1", spec.servers)
    discovered = DiscoveredCluster("demo", {SERVER: marker}, cast(Any, {SERVER: None}))
    report = Notes()
    backup.backup(Context(cast(Any, None), report, "me@here"), discovered, backup.Request(file, encrypted))
    return report.notes


def test_it_has_the_state_the_secrets_and_the_hosts_that_are_kept_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "demo.backup"
    notes = save(monkeypatch, SPEC, file, Lock())
    saved = backup_file.read(file, Opener())
    assert (saved.cluster, saved.id, saved.generation, saved.secrets) == ("demo", "abc", 3, SECRETS)
    assert (saved.snapshot.data, saved.barred) == (b"jobs", ("10.0.0.9",))
    assert saved.hosts == ({"name": "one", "node": "", "address": "10.0.0.1", "role": "server"},)
    assert [note for note in notes if "is not encrypted: whoever reads it owns the cluster" in note]


def test_of_one_that_is_encrypted_nobody_is_warned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (note,) = save(monkeypatch, SPEC, tmp_path / "demo.backup", Lock("horse battery"))
    assert "holds cluster demo as it was at " in note


def test_none_is_made_while_new_certificates_are_on_their_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rotated = replace(SPEC, secrets=replace(SECRETS, successor=SECRETS))
    with pytest.raises(ClusterError, match=r"are on their way: finish that by `cms cluster rotate -n demo`"):
        save(monkeypatch, rotated, tmp_path / "demo.backup", Lock())
    assert list(tmp_path.iterdir()) == []
