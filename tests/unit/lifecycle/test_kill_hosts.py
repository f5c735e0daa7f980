"""Which hosts `kill` knows of: those that answered, the engine's, the servers' lists', and the markers' servers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine, MemoryProvider

from cloudmesh.cluster.core.context import Context, SshSettings
from cloudmesh.cluster.core.errors import ApiError, HostError
from cloudmesh.cluster.core.model import Host, Marker, Node, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import members
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.hosts.members import MemberList
from cloudmesh.cluster.lifecycle import clean, kill
from cloudmesh.cluster.lifecycle.kill import Kill

SERVER, WORKER = Host("one"), Host("two")
SECOND = Node("two", "10.0.0.2", (Role.WORKER,), "unknown", contact="root@two:22", host_key="ssh-ed25519 A")
LOST = Host("two", "root", 22, "", host_key="ssh-ed25519 A")


@dataclass
class SilentEngine(MemoryEngine):
    def nodes(self) -> tuple[Node, ...]:
        raise ApiError("no answer from its API")


def marker_of(number: int, role: Role, servers: tuple[str, ...] = ("10.0.0.1",)) -> Marker:
    return Marker("demo", "abc", "memory", role, f"10.0.0.{number}", servers)


def list_hosts(
    monkeypatch: pytest.MonkeyPatch,
    markers: dict[Host, Marker],
    *,
    engine: MemoryEngine,
    noted: tuple[Node, ...] = (),
    started: bool = True,
) -> Kill:
    """Return the run of a kill that has found these hosts, and whose servers have this list."""
    monkeypatch.setattr(local_hosts, "find", lambda _: {})
    monkeypatch.setattr(members, "read", lambda _: MemberList(noted, started))
    opened = SimpleNamespace(engine=lambda: MemoryProvider().open_engine(None, cast(Any, None)))
    monkeypatch.setattr(MemoryProvider, "instance", engine)
    monkeypatch.setattr(kill, "open_discovered", lambda *_: opened)
    discovered = DiscoveredCluster("demo", markers, {host: cast(Any, SimpleNamespace(host=host)) for host in markers})
    run = Kill(Context(SshSettings(Path("/nonexistent")), Silence(), "me@here"), discovered)
    kill._list_hosts(run)
    return run


ALONE = {SERVER: marker_of(1, Role.SERVER)}


def test_a_host_that_only_the_servers_list_names_is_cleaned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in (MemoryEngine(), SilentEngine()):
        run = list_hosts(monkeypatch, ALONE, engine=engine, noted=(SECOND,))
        assert run.hosts == {SERVER: Role.SERVER, LOST: Role.WORKER}
        assert run.failures == {}


def test_an_engine_that_is_silent_and_no_list_is_a_failure_as_hosts_may_be_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = list_hosts(monkeypatch, ALONE, engine=SilentEngine())
    assert "others may be left: name them by --hosts" in str(run.failures["demo"])


def test_an_engine_that_was_never_started_has_no_hosts_to_tell_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_hosts(monkeypatch, ALONE, engine=SilentEngine(), started=False).failures == {}


def test_a_server_that_only_the_markers_name_is_tried_at_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    run = list_hosts(monkeypatch, {WORKER: marker_of(2, Role.WORKER)}, engine=SilentEngine())
    assert run.hosts == {WORKER: Role.WORKER, Host("10.0.0.1"): Role.SERVER}


def test_a_host_of_which_nobody_says_how_it_is_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stray = Node("stray", "10.0.0.9", (Role.WORKER,), "down")
    run = list_hosts(monkeypatch, ALONE, engine=MemoryEngine(workers=(stray,)))
    assert str(run.failures["stray"]) == "stray: how it is reached is not known: name it by --hosts"


def test_a_list_that_could_not_be_read_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> MemberList:
        raise HostError("one", "gave no answer")

    run = list_hosts(monkeypatch, ALONE, engine=MemoryEngine())
    assert run.failures == {}
    monkeypatch.setattr(members, "read", fail)
    monkeypatch.setattr(MemoryProvider, "instance", SilentEngine())
    kill._list_hosts(run)
    assert list(run.failures) == ["demo"]


def test_a_host_that_is_another_clusters_by_now_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[str] = []

    def connect(host: Host, *_: object) -> Any:
        return SimpleNamespace(host=host, run=lambda *_, **__: cleaned.append(host.name), forget=lambda: None)

    markers = {"ours": marker_of(2, Role.WORKER), "bare": None, "theirs": replace(marker_of(2, Role.WORKER), id="xyz")}
    monkeypatch.setattr(clean, "connection_to", connect)
    monkeypatch.setattr(clean, "read_marker", lambda connection: markers[connection.host.name])
    discovered = DiscoveredCluster("demo", dict(ALONE), {})
    context = Context(cast(Any, None), Silence(), "me@here")
    outcomes = clean.clean_hosts(context, discovered, "exit 0", [Host(name) for name in markers], ExitStack())
    assert outcomes.failures == {}
    assert sorted(cleaned) == ["bare", "ours"]
