"""A cluster is restored as what it was, on new servers; one that lives is left alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine, MemoryProvider

from cloudmesh.cluster.binaries import pinned
from cloudmesh.cluster.binaries.pinned import EngineSpec
from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.encryption import Lock, Opener
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.model import EngineState, Facts, Host, Marker, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import discovery, marker
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.lifecycle import backup_file, create, restore
from cloudmesh.cluster.lifecycle.backup_file import Backup
from cloudmesh.cluster.lifecycle.create import Creation
from cloudmesh.cluster.lifecycle.phases import Phase, checks
from cloudmesh.cluster.providers import open_cluster
from cloudmesh.cluster.providers.base import Snapshot

SECRETS = ClusterSecrets(certificates.new_authority("demo"), {"token": "t0ken"})
BACKUP = Backup("demo", "abc", "memory", "1.0", 4, (), ("10.0.0.9",), SECRETS, Snapshot(b"state", 1.0, ("one",)))
RESTORED = replace(SECRETS, backup=BACKUP.digest)
ONE, TWO, OLD = Host("one"), Host("two"), Host("old")


@dataclass
class Connected:
    """A connection, as far as it is looked at here."""

    host: Host
    contact: str = "root@h:22"
    host_key: str = "ssh-ed25519 AAAA"
    closed: list[Host] = field(default_factory=list)

    def close(self) -> None:
        self.closed.append(self.host)


def facts(number: int, *, generation: int | None = None, cluster_id: str = "abc", started: bool = False) -> Facts:
    """Return what a host says; with a generation, it has a marker of the cluster."""
    address, text = f"10.0.1.{number}", ""
    if generation is not None:
        role = Role.SERVER if number == 1 else Role.WORKER
        text = marker.dumps(
            Marker("demo", cluster_id, "memory", role, address, ("10.0.1.1",), f"n{number}", generation)
        ).decode()
    engine = EngineState.STARTED if started else EngineState.NONE
    return Facts(
        f"m{number}",
        ("one", "two")[number - 1],
        address,
        "debian-13",
        "amd64",
        2,
        4096,
        90000,
        0,
        0,
        marker=text,
        engine=engine,
    )


def start(monkeypatch: pytest.MonkeyPatch, *hosts: Facts, stored: ClusterSecrets | None = None) -> Creation:
    """Return a run whose hosts have been asked, and have been planned for."""
    monkeypatch.setattr(open_cluster, "read_secrets", lambda _: stored)
    monkeypatch.setattr(pinned, "SPECS", (EngineSpec("memory", "1.0", (), (), ()),))
    monkeypatch.setattr(discovery, "find_all", lambda _: [])
    context = Context(cast(Any, None), Silence(), "me@here")
    run = Creation(context, MemoryProvider(), "demo", (ONE, TWO)[: len(hosts)])
    run.facts = dict(zip((ONE, TWO), hosts, strict=False))
    run.connections = cast(Any, {host: Connected(host) for host in run.facts})
    phase("plan").act(run)
    return run


def phase(name: str) -> Phase[Creation]:
    (match,) = [phase for phase in restore.phases(BACKUP) if phase.name == name]
    return match


def test_it_is_a_create_whose_images_come_before_its_engine_begins() -> None:
    phases = [phase.name for phase in restore.phases(BACKUP)]
    assert set(phases) == {phase.name for phase in create.PHASES} | {"jobs"}
    assert phases.index("registry") < phases.index("images") < phases.index("bootstrap") < phases.index("join")
    assert [phase.name for phase in checks(restore.phases(BACKUP))] == [phase.name for phase in checks(create.PHASES)]


def test_the_cluster_keeps_id_and_secrets_and_has_new_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(monkeypatch, facts(1), facts(2))
    spec = run.spec
    assert (spec.id, spec.servers, spec.secrets, spec.generation) == ("abc", ("10.0.1.1",), RESTORED, 5)
    assert (run.snapshot, run.barred, run.started) == (BACKUP.snapshot, ("10.0.0.9",), False)


def test_nodes_get_no_name_that_the_snapshot_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(monkeypatch, facts(1), facts(2))
    phase("preflight").act(run)
    assert [host.node for host in run.pending] == ["one-2", "two"]


def test_one_that_was_interrupted_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(monkeypatch, facts(1, generation=5), facts(2), stored=RESTORED)
    assert (run.spec.secrets, run.spec.generation, run.started) == (RESTORED, 5, False)
    run = start(monkeypatch, facts(1, generation=5), facts(2), stored=None)
    assert run.spec.secrets == RESTORED


@pytest.mark.parametrize(
    ("generation", "cluster_id", "stored"),
    [(4, "abc", SECRETS), (6, "abc", SECRETS), (5, "abc", replace(SECRETS, backup="another")), (0, "xyz", SECRETS)],
)
def test_hosts_of_a_cluster_that_lives_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, generation: int, cluster_id: str, stored: ClusterSecrets
) -> None:
    host = facts(1, generation=generation, cluster_id=cluster_id, started=True)
    with pytest.raises(ClusterError, match=r"^cluster demo lives, on one, and nothing was changed: .* kill -n demo"):
        start(monkeypatch, host, facts(2), stored=stored)


def test_a_cluster_that_lives_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(monkeypatch, facts(1))
    old = Marker("demo", "abc", "memory", Role.SERVER, "10.0.0.7", ("10.0.0.7",))
    monkeypatch.setattr(
        discovery, "find_all", lambda _: [DiscoveredCluster("demo", {OLD: old}, cast(Any, {OLD: Connected(OLD)}))]
    )
    with pytest.raises(ClusterError, match=r"^cluster demo lives, on old, and nothing was changed"):
        phase("preflight").act(run)


def test_hosts_that_joined_a_restored_cluster_do_not_hinder_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(monkeypatch, facts(1, generation=5, started=True), stored=RESTORED)
    monkeypatch.setattr(MemoryProvider, "open_engine", lambda *_: nullcontext(MemoryEngine()))
    more = Marker("demo", "abc", "memory", Role.WORKER, "10.0.1.9", ("10.0.1.1",), "nine", 5)
    monkeypatch.setattr(
        discovery, "find_all", lambda _: [DiscoveredCluster("demo", {OLD: more}, cast(Any, {OLD: Connected(OLD)}))]
    )
    phase("preflight").act(run)
    assert run.started


def test_a_backup_of_another_cluster_or_of_a_newer_engine_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    backup_file.write(file, replace(BACKUP, provider="nomad", version="99.1.0"), Lock(), overwrite=False)
    with pytest.raises(UsageError, match=r"file is a backup of cluster demo: use -n demo$"):
        restore.read("prod", file, Opener())
    with pytest.raises(ClusterError, match=r"is of nomad 99\.1\.0, and this version of cms cluster brings "):
        restore.read("demo", file, Opener())
