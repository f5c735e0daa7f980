"""The names of nodes: fit, unique in the cluster, and never changed."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine, MemoryProvider

from cloudmesh.cluster.core.cluster_spec import ClusterSpec, HostPlan
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError, HostError
from cloudmesh.cluster.core.model import Facts, Host, Marker, Node, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import marker
from cloudmesh.cluster.lifecycle import inspection, node_names
from cloudmesh.cluster.lifecycle.installation import Installation


def plan(number: int, written: str, hostname: str, *, port: int = 0, node: str = "") -> HostPlan:
    """Return the plan of a host that calls itself `hostname`; with `node`, it has a marker that says so."""
    address = f"10.0.0.{number}"
    facts = Facts(f"m{number}", hostname, address, "debian-13", "amd64", 2, 4096, 20000, 0, 0)
    if node:
        text = marker.dumps(Marker("demo", "1", "memory", Role.WORKER, address, ("10.0.0.1",), node)).decode()
        facts = replace(facts, marker=text)
    return HostPlan(Host(written, port=port), facts, Role.WORKER, True, "root@h:22", "ssh-ed25519 AAAA")


def names_of(*plans: HostPlan, existing: dict[str, str] | None = None) -> list[str]:
    return [named.node for named in node_names.name_nodes(plans, existing or {})]


def test_a_hosts_own_name_stays_where_it_fits_and_is_unique() -> None:
    assert names_of(plan(1, "10.0.0.1", "one"), plan(2, "a", "two.example.org")) == ["one", "two.example.org"]


@pytest.mark.parametrize("hostname", ["Upper", "under_score", "-a", "a-", "a..b", "x" * 64, "localhost", "büro", ""])
def test_a_name_that_does_not_fit_is_replaced_by_what_the_user_wrote(hostname: str) -> None:
    assert names_of(plan(1, "node1", hostname)) == ["node1"]


def test_two_hosts_that_call_themselves_the_same_have_names_by_what_the_user_wrote() -> None:
    assert names_of(plan(1, "h1", "debian"), plan(2, "h2", "debian"), plan(3, "h3", "other")) == ["h1", "h2", "other"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Büro_1", "buro-1"),
        ("Node_1.Example.ORG", "node-1.example.org"),
        ("h:2222", "h-2222"),
        ("[fe80::1%eth0]:22", "fe80-1-eth0-22"),
        ("a..b.", "a.b"),
        ("сервер", "host"),
        ("ec2-" + "x" * 80 + ".example", "ec2-" + "x" * 59),
    ],
)
def test_what_the_user_wrote_is_made_fit(text: str, name: str) -> None:
    assert node_names.derive(text) == name
    assert node_names.is_fit(name)


def test_names_that_become_the_same_are_told_apart() -> None:
    long = "x" * 70
    plans = (
        plan(1, "a_b", "D"),
        plan(2, "a+b", "D"),
        plan(3, f"{long}1", "D"),
        plan(4, f"{long}2", "D"),
        plan(5, "h", "a-b"),
    )
    names = names_of(*plans)
    assert names == ["a-b-2", "a-b-3", "x" * 63, "x" * 61 + "-2", "a-b"]
    assert all(map(node_names.is_fit, names))


def test_a_node_that_exists_keeps_its_name_and_no_other_gets_it() -> None:
    existing = {"10.0.0.1": "127.0.0.1:2201", "10.0.0.9": "debian"}
    assert names_of(plan(1, "h1", "one"), plan(2, "h2", "debian"), existing=existing) == ["127.0.0.1:2201", "h2"]


def test_the_order_in_which_hosts_are_given_changes_nothing_once_they_have_names() -> None:
    first = names_of(plan(1, "a_b", "D"), plan(2, "a+b", "D"))
    again = names_of(plan(2, "a+b", "D"), plan(1, "a_b", "D"), existing={"10.0.0.1": first[0], "10.0.0.2": first[1]})
    assert again == first[::-1]


# --- with the engine and the markers ----------------------------------------------------------------------------------


def installation(engine: Any, *plans: HostPlan, pending: tuple[HostPlan, ...] | None = None) -> Installation:
    class Provider(MemoryProvider):
        def open_engine(self, server: Any, secrets: Any) -> Any:
            return nullcontext(engine)

    context = Context(cast(Any, None), Silence(), "me@here")
    run = Installation(context, Provider(), "demo", [host.host for host in plans])
    run.spec = ClusterSpec("demo", "1", "memory", ("10.0.0.1",), cast(Any, None))
    run.server = cast(Any, SimpleNamespace(host=Host("h1")))
    run.facts = {host.host: host.facts for host in plans}
    run.pending = plans if pending is None else pending
    return run


class SilentEngine(MemoryEngine):
    """An engine that does not answer."""

    def nodes(self) -> tuple[Node, ...]:
        raise ApiError("silent")


def test_a_new_cluster_asks_no_engine() -> None:
    run = installation(None, plan(1, "h1", "debian"), plan(2, "h2", "debian"))
    inspection.name_nodes(run)
    assert [host.node for host in run.pending] == ["h1", "h2"]


def test_a_host_that_is_added_gets_none_of_the_names_in_the_engine() -> None:
    engine = MemoryEngine(workers=(Node("h1", "10.0.0.1", (Role.SERVER,), "ready", node="debian"),))
    run = installation(engine, plan(2, "h2", "debian"))
    inspection.name_nodes(run)
    assert [host.node for host in run.pending] == ["h2"]


def test_a_host_of_an_earlier_version_keeps_the_name_that_the_engine_has() -> None:
    engine = MemoryEngine(workers=(Node("127.0.0.1:2202", "10.0.0.2", (Role.WORKER,), "down"),))
    run = installation(engine, plan(2, "127.0.0.1", "debian", port=2202))
    inspection.name_nodes(run)
    assert [host.node for host in run.pending] == ["127.0.0.1:2202"]


def test_an_interrupted_create_goes_on_with_the_names_that_it_began_with_though_no_engine_answers() -> None:
    begun = plan(1, "one", "debian", node="begun"), plan(2, "two", "debian")
    run = installation(SilentEngine(), *begun)
    inspection.name_nodes(run)
    assert [host.node for host in run.pending] == ["begun", "debian"]


def test_nothing_is_guessed_of_a_cluster_whose_engine_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_SILENCE_SECONDS", 0.1)
    with pytest.raises(HostError, match=r"h1: the engine of cluster demo does not answer here.*silent"):
        inspection.name_nodes(installation(SilentEngine(), plan(2, "h2", "debian")))


def test_a_copy_of_a_machine_does_not_get_the_others_name() -> None:
    copies = plan(1, "h1", "debian", node="debian"), plan(2, "h2", "debian", node="debian")
    run = installation(MemoryEngine(workers=()), *copies)
    inspection.name_nodes(run)
    assert [host.node for host in run.pending] == ["debian", "h2"]
