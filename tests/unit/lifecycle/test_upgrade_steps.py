"""Hosts are upgraded one at a time; what an earlier run has begun comes first; where one fails, the others are left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.clock import Clock, provide_clock
from support.memory_engine.provider import MemoryEngine, MemoryProvider

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostError, HostsError
from cloudmesh.cluster.core.model import Facts, Host, Marker, Node, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import discovery, facts, lock, marker
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.lifecycle import upgrade
from cloudmesh.cluster.providers.base import Delivery
from cloudmesh.cluster.providers.open_cluster import OpenCluster

__all__ = ["provide_clock"]
OLD, NEW = "1.10.4", "1.10.5"
SECRETS = ClusterSecrets(certificates.new_authority("demo"), {})
FACTS = Facts("m", "h", "", "debian-13", "amd64", 2, 2048, 9000, 0.0, 0.0)


def make_marker(number: int, version: str = OLD, *, paused: bool = False, server: bool = False) -> Marker:
    role = Role.SERVER if server else Role.WORKER
    return Marker("demo", "1", "nomad", role, f"10.0.0.{number}", ("10.0.0.1",), f"h{number}", 0, version, paused)


def make_node(number: int, version: str = OLD, status: str = "ready", *, server: bool = False) -> Node:
    roles = (Role.SERVER,) * server + (Role.WORKER,)
    return Node(f"h{number}", f"10.0.0.{number}", roles, status, version=version, id=f"n{number}", node=f"h{number}")


class Engine(MemoryEngine):
    """An engine whose hosts run what their scripts have started."""

    def run(self, name: str, **changes: Any) -> None:
        self.workers = tuple(replace(node, **changes) if node.name == name else node for node in self.workers)


@dataclass
class Cluster:
    """Three hosts without a network: the first is the server.

    Attributes:
        engine: theirs.
        markers: of the hosts by name; what `mark.sh` writes is written there.
        events: what was done, in order.
        broken: hosts on which the new engine does not start.
    """

    engine: Engine
    markers: dict[str, Marker]
    events: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def connection(self, name: str) -> Any:
        return SimpleNamespace(host=Host(name), run=lambda *words, **options: self.run(name, *words, **options))

    def run(self, name: str, script: str, verb: str = "", *, files: dict[str, bytes], **_: Any) -> None:
        if "marker.json" in files:
            self.markers[name] = marker.loads(files["marker.json"])
            self.events.append(f"{name} {'pause' if self.markers[name].paused else 'done'}")
            return
        assert self.markers[name].version == NEW, "it is noted before anything is changed"
        self.events.append(f"{name} {verb}{' first' if 'leads' in files else ''}")
        if name in self.broken:
            raise HostError(name, "Nomad does not answer")
        self.engine.run(name, version=NEW)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    nodes = (make_node(1, server=True), make_node(2), make_node(3))
    markers = {f"h{number}": make_marker(number, server=number == 1) for number in (1, 2, 3)}
    cluster = Cluster(Engine(workers=nodes), markers)
    monkeypatch.setattr(MemoryProvider, "instance", cluster.engine)
    monkeypatch.setattr(MemoryProvider, "empties_for_minor", False)
    monkeypatch.setattr(discovery, "hosts_of", lambda nodes, *_: {Host(node.name): node for node in nodes})
    monkeypatch.setattr(discovery, "connection_to", lambda host, *_: cluster.connection(host.name))
    monkeypatch.setattr(
        facts,
        "gather",
        lambda connection, **_: replace(FACTS, marker=marker.dumps(cluster.markers[connection.host.name]).decode()),
    )
    monkeypatch.setattr(lock, "hold", lambda *_: SimpleNamespace(release=lambda: None))
    monkeypatch.setattr(upgrade.binaries, "provide", lambda *_, **__: SimpleNamespace(files=()))
    monkeypatch.setattr(MemoryProvider, "deliver", lambda *_: Delivery())
    return cluster


def opened(cluster: Cluster, notes: list[str] | None = None) -> OpenCluster:
    spec = ClusterSpec("demo", "1", "nomad", ("10.0.0.1",), SECRETS, version=OLD)
    report = Silence()
    report.note = (notes if notes is not None else []).append  # type: ignore[method-assign]
    context = Context(cast(Any, None), report, "me@here")

    @dataclass(frozen=True)
    class Opened(OpenCluster):
        @contextmanager
        def engine(self) -> Iterator[Any]:
            yield cluster.engine

        def registry(self) -> Any:
            return nullcontext(None)

    return Opened(context, MemoryProvider(), DiscoveredCluster("demo"), cluster.connection("h1"), spec)


def run(cluster: Cluster, to: str = NEW) -> list[str]:
    notes: list[str] = []
    upgrade.upgrade(opened(cluster, notes), to)
    return notes


def test_hosts_are_upgraded_one_after_the_other_servers_first(cluster: Cluster) -> None:
    assert run(cluster) == ["cluster demo runs nomad 1.10.5 on 3 hosts"]
    assert cluster.events == [
        *("h1 pause", "h1 upgrade first", "h1 done"),
        *("h2 pause", "h2 upgrade", "h2 done"),
        *("h3 pause", "h3 upgrade", "h3 done"),
    ]
    assert [(node.version, node.status) for node in cluster.engine.nodes()] == [(NEW, "ready")] * 3


def test_a_cluster_that_has_the_version_is_left_alone(cluster: Cluster) -> None:
    run(cluster)
    cluster.events.clear()
    assert run(cluster) == ["cluster demo: all hosts run nomad 1.10.5, nothing to do"]
    assert cluster.events == []


def test_it_stops_at_the_first_host_that_fails_and_goes_on_there_when_run_again(cluster: Cluster) -> None:
    cluster.broken.add("h2")
    with pytest.raises(HostsError) as stop:
        run(cluster)
    assert str(stop.value) == (
        "h2: not upgraded: Nomad does not answer. The upgrade stops here, with 1 more to do: mend this one, and run "
        "`cms cluster upgrade -n demo --to=1.10.5` again; nomad has no way back"
    )
    assert cluster.events[-2:] == ["h2 pause", "h2 upgrade"]
    assert {node.name: node.status for node in cluster.engine.nodes()} == {
        "h1": "ready",
        "h2": "drained",
        "h3": "ready",
    }

    cluster.broken.clear()
    cluster.events.clear()
    run(cluster, "")
    assert cluster.events == ["h2 pause", "h2 upgrade", "h2 done", "h3 pause", "h3 upgrade", "h3 done"]


def test_what_an_earlier_run_has_begun_comes_first_even_where_it_is_down(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.engine.run("h1", version=NEW)
    cluster.markers["h3"] = make_marker(3, NEW, paused=True)
    cluster.engine.run("h3", status="down")
    monkeypatch.setattr(upgrade, "_HEALTHY_SECONDS", 0)
    with pytest.raises(HostsError, match="h3: not upgraded: it is"):
        run(cluster)
    assert cluster.events == ["h3 pause", "h3 upgrade"]


def test_a_host_that_the_operator_gives_no_jobs_has_none_afterwards(cluster: Cluster) -> None:
    cluster.engine.run("h2", status="drained")
    run(cluster)
    assert [event for event in cluster.events if event.startswith("h2")] == ["h2 done", "h2 upgrade"]
    assert {node.name: node.status for node in cluster.engine.nodes()}["h2"] == "drained"


def test_nothing_is_changed_where_a_host_is_not_healthy_for_a_minute(cluster: Cluster, clock: Clock) -> None:
    cluster.engine.run("h3", status="down")
    with pytest.raises(HostsError, match=r'^h3: it is "down", .*nothing was changed$'):
        run(cluster)
    assert cluster.events == []
    assert 60 <= clock.now < 65


def test_a_host_that_has_just_been_booted_is_waited_for(
    cluster: Cluster, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.engine.run("h3", status="down")
    monkeypatch.setattr("time.sleep", lambda _: cluster.engine.run("h3", status="ready"))
    run(cluster)
    assert cluster.events[-1] == "h3 done"


def test_an_engine_whose_tasks_would_not_outlive_it_is_emptied_before_another_minor_version(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[str] = []
    monkeypatch.setattr(MemoryProvider, "empties_for_minor", True)
    monkeypatch.setattr(upgrade, "move_jobs_away", lambda _, node: emptied.append(node.name))
    run(cluster)
    assert emptied == []
    for name in ("h1", "h2", "h3"):
        cluster.engine.run(name, version="1.9.7")
    run(cluster)
    assert emptied == ["h1", "h2", "h3"]


def test_an_engine_that_is_silent_while_its_server_starts_is_waited_for(cluster: Cluster, clock: Clock) -> None:
    answers = iter([ApiError("no leader"), ApiError("no leader")])
    nodes = cluster.engine.nodes

    def answer() -> Any:
        if "h1 upgrade first" in cluster.events and (silence := next(answers, None)):
            raise silence
        return nodes()

    cluster.engine.nodes = answer  # type: ignore[method-assign]
    run(cluster)
    assert clock.pauses


def test_a_refusal_of_the_operator_changes_nothing(cluster: Cluster) -> None:
    questions: list[str] = []

    def refuse(question: str) -> None:
        questions.append(question)
        raise ClusterError("no")

    with pytest.raises(ClusterError, match="no"):
        upgrade.upgrade(opened(cluster), NEW, refuse)
    assert questions == ["Upgrade 3 of 3 hosts of cluster demo from nomad 1.10.4 to 1.10.5? There is no way back."]
    assert cluster.events == []


def test_a_dryrun_shows_the_phases_of_each_host_in_their_order(cluster: Cluster) -> None:
    steps = upgrade.plan_upgrade(opened(cluster), NEW)
    assert [(step.host, step.phase) for step in steps] == [
        *(("h1", phase) for phase in ("binaries", "pause", "upgrade", "healthy", "resume")),
        *(("h2", phase) for phase in ("pause", "upgrade", "healthy", "resume")),
        *(("h3", phase) for phase in ("pause", "upgrade", "healthy", "resume")),
    ]
    assert cluster.events == []


def test_while_secrets_are_rotated_no_host_is_upgraded(cluster: Cluster) -> None:
    half = opened(cluster)
    secrets = replace(SECRETS, successor=SECRETS)
    with pytest.raises(
        ClusterError, match="are being rotated, and nothing was changed: finish that by `cms cluster rotate"
    ):
        upgrade.upgrade(replace(half, spec=replace(half.spec, secrets=secrets)), NEW)
    assert cluster.events == []
