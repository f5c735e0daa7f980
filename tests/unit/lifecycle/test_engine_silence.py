"""An engine that is silent is neither new nor without hosts: what was started once is not installed again."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.clock import Clock, provide_clock
from support.memory_engine.provider import MemoryEngine, MemoryProvider

from cloudmesh.cluster.core import certificates, names
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostError
from cloudmesh.cluster.core.model import EngineState, Facts, Host, Marker, Node, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import marker
from cloudmesh.cluster.lifecycle import inspection, plan
from cloudmesh.cluster.lifecycle.installation import Installation
from cloudmesh.cluster.providers import open_cluster

__all__ = ["provide_clock"]
pytestmark = pytest.mark.usefixtures("clock")

ONE, TWO = Host("one"), Host("two")
SECRETS = ClusterSecrets(certificates.new_authority("demo"), {"token": "t0ken"})
SPEC = ClusterSpec("demo", "abc", "memory", ("10.0.0.1",), SECRETS)


@dataclass
class Engine(MemoryEngine):
    """An engine that answers after so many questions."""

    silences: int = 0
    asked_for_nodes: int = 0

    def nodes(self) -> tuple[Node, ...]:
        self.asked_for_nodes += 1
        if self.asked_for_nodes <= self.silences:
            raise ApiError("no answer from its API")
        return super().nodes()


def facts(number: int, *, started: bool = False, known: bool = True) -> Facts:
    role = Role.SERVER if number == 1 else Role.WORKER
    text = marker.dumps(Marker("demo", "abc", "memory", role, f"10.0.0.{number}", SPEC.servers)).decode()
    return Facts(
        f"m{number}",
        f"h{number}",
        f"10.0.0.{number}",
        "debian-13",
        "amd64",
        2,
        4096,
        20000,
        0,
        0,
        marker=text if known else "",
        engine=EngineState.STARTED if started else EngineState.NONE,
    )


def find_pending(monkeypatch: pytest.MonkeyPatch, engine: Engine, *hosts: Facts, started: bool = True) -> Installation:
    monkeypatch.setattr(MemoryProvider, "instance", engine)
    run = Installation(Context(cast(Any, None), Silence(), "me@here"), MemoryProvider(), "demo", ())
    run.spec, run.server, run.started = SPEC, cast(Any, SimpleNamespace(host=ONE)), started
    names = {"10.0.0.1": ONE, "10.0.0.2": TWO}
    run.facts = {names[host.address]: host for host in hosts}
    connection = cast(Any, SimpleNamespace(contact="root@h:22", host_key="ssh-ed25519 A"))
    run.connections = dict.fromkeys(run.facts, connection)
    inspection.find_pending(run, servers_work=True)
    return run


def pending(monkeypatch: pytest.MonkeyPatch, engine: Engine, *hosts: Facts, started: bool = True) -> list[str]:
    return [str(host.host) for host in find_pending(monkeypatch, engine, *hosts, started=started).pending]


def test_hosts_on_which_no_engine_was_ever_started_are_installed_and_no_engine_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine()
    assert pending(monkeypatch, engine, facts(1), facts(2, known=False), started=False) == ["one", "two"]
    assert engine.asked_for_nodes == 0


def test_hosts_that_the_engine_calls_ready_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pending(monkeypatch, Engine(), facts(1, started=True), facts(2)) == ["two"]


@pytest.mark.parametrize("status", ["drained", "draining"])
def test_a_host_that_was_told_to_take_no_jobs_is_not_installed_again(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    (node,) = Engine().workers
    engine = Engine(workers=(replace(node, status=status),))
    assert pending(monkeypatch, engine, facts(1, started=True)) == []


def test_an_engine_that_is_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    assert pending(monkeypatch, Engine(silences=20), facts(1, started=True)) == []
    assert clock.now == 20


@pytest.mark.parametrize("hosts", [(facts(1, started=True), facts(2)), (facts(2, known=False),)], ids=["create", "add"])
def test_while_the_engine_is_silent_nothing_is_installed_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, hosts: tuple[Facts, ...]
) -> None:
    with pytest.raises(
        HostError, match=r"^one: the engine of cluster demo does not answer here.*no answer from its API"
    ):
        find_pending(monkeypatch, Engine(silences=10_000), *hosts)
    assert 90 <= clock.now <= 92


@pytest.mark.parametrize("state", [EngineState.NONE, EngineState.WIPED])
def test_a_first_server_that_was_wiped_joins_again_and_the_engine_forgets_what_it_was(
    monkeypatch: pytest.MonkeyPatch, state: EngineState
) -> None:
    engine = Engine()
    wiped = replace(facts(1, known=False), engine=state)
    run = find_pending(monkeypatch, engine, wiped, facts(2, started=True))
    assert (run.first, [str(host.host) for host in run.others]) == ([], ["one", "two"])
    assert [node.name for node in run.stale] == ["one"]


def test_a_host_that_was_cut_off_while_it_joined_goes_on_and_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    (node,) = Engine().workers
    engine = Engine(workers=(node, replace(node, name="two", id="2", address="10.0.0.2", status="joining")))
    run = find_pending(monkeypatch, engine, facts(1, started=True), facts(2))
    assert ([str(host.host) for host in run.pending], run.stale) == (["two"], [])
    run = find_pending(monkeypatch, engine, facts(1, started=True), facts(2, known=False))
    assert [node.name for node in run.stale] == ["two"]


def test_a_host_whose_configuration_was_deleted_gets_it_again_and_stays_the_node_that_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = find_pending(monkeypatch, Engine(), replace(facts(1), engine=EngineState.DAMAGED))
    assert ([str(host.host) for host in run.pending], run.stale) == (["one"], [])


def test_no_host_joins_while_secrets_are_being_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    rotated = replace(SPEC, secrets=replace(SECRETS, successor=SECRETS))
    monkeypatch.setattr(sys.modules[__name__], "SPEC", rotated)
    with pytest.raises(ClusterError, match=r"finish that by `cms cluster rotate -n demo`, and run this again$"):
        pending(monkeypatch, Engine(), facts(1, started=True), facts(2))
    assert pending(monkeypatch, Engine(), facts(1, started=True)) == []


def load_spec(monkeypatch: pytest.MonkeyPatch, stored: ClusterSecrets | None, *hosts: Facts) -> ClusterSpec:
    monkeypatch.setattr(open_cluster, "read_secrets", lambda _: stored)
    connections = dict.fromkeys((ONE, TWO), cast(Any, None))
    named = dict(zip((ONE, TWO), hosts, strict=False))
    return plan.load_or_begin_spec(connections, named, "demo", "memory", 1, partial(new_spec, "demo", named))


def new_spec(cluster: str, named: Mapping[Host, Facts], servers: Sequence[str]) -> ClusterSpec:
    return plan.new_spec(cluster, MemoryProvider(), named, servers)


def test_secrets_that_are_gone_are_made_anew_only_where_nothing_was_ever_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_spec(monkeypatch, SECRETS, facts(1), facts(2, started=True)).secrets == SECRETS
    assert load_spec(monkeypatch, None, facts(1), facts(2)).id == "abc"
    with pytest.raises(ClusterError, match=r"^cluster demo was started on two, but no server .* has its secrets"):
        load_spec(monkeypatch, None, facts(1), facts(2, started=True))


def test_a_cluster_whose_name_is_as_long_as_it_may_be_has_authorities() -> None:
    named = {ONE: facts(1, known=False)}
    cluster = "c" * names.MAX_LENGTH
    spec = plan.load_or_begin_spec({}, named, cluster, "memory", 1, partial(new_spec, cluster, named))
    assert spec.secrets.writers
    assert spec.secrets.writers.certificate != spec.secrets.authority.certificate
