"""Commands take what `info` shows of a host and what SSH takes, and mean the same node by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmesh.cluster.core.context import Context, SshSettings
from cloudmesh.cluster.core.errors import NotFoundError, UsageError
from cloudmesh.cluster.core.model import Host, Marker, Node, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import discovery, named_nodes
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.hosts.named_nodes import NamedNodes
from cloudmesh.cluster.ssh.host_list import parse_hosts

WORKER = (Role.WORKER,)
SERVER = Node("srv", "10.0.0.1", (Role.SERVER,), "ready", contact="root@10.0.0.1:22", id="n1", node="debian")
DOWN = Node("[fe80::2]:2222", "10.0.0.2", WORKER, "down", contact="ops@[fe80::2]:2222", id="n2", node="fe80-2")
LOCAL = Node("mya-3", "10.0.0.3", WORKER, "down", contact="root@127.0.0.1:32768", id="n3", node="mya-3")
GONE = Node("mya-4", "10.0.0.4", WORKER, "down", contact="root@127.0.0.1:32769", id="n4", node="mya-4")
STOPPED = Host("mya-3", "root", 1, address="127.0.0.1", private_key="k", host_key="t k")
ANSWERED = Host("10.9.9.9", "root")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(SshSettings(known_hosts=tmp_path / "known_hosts"), Silence(), "me@here", user="ops")


@pytest.fixture
def named(context: Context, monkeypatch: pytest.MonkeyPatch) -> NamedNodes:
    monkeypatch.setattr(local_hosts, "find", lambda cluster="": {"mya": (STOPPED,)})
    marker = Marker("mya", "1", "nomad", Role.SERVER, "10.0.0.1", ("10.0.0.1",))
    discovered = DiscoveredCluster("mya", {ANSWERED: marker})
    return NamedNodes((SERVER, DOWN, LOCAL, GONE), discovered, context)


@pytest.mark.parametrize(
    ("text", "node", "reached"),
    [
        ("srv", SERVER, ANSWERED),
        ("debian", SERVER, ANSWERED),
        ("10.0.0.1", SERVER, ANSWERED),
        ("root@10.9.9.9", SERVER, ANSWERED),
        ("10.0.0.1:22", SERVER, ANSWERED),
        ("fe80-2", DOWN, Host("fe80::2", "ops", 2222)),
        ("[fe80::2]:2222", DOWN, Host("fe80::2", "", 2222)),
        ("10.0.0.2", DOWN, Host("10.0.0.2")),
        ("mya-3", LOCAL, STOPPED),
        ("mya-4", GONE, Host("mya-4", address="127.0.0.1")),
    ],
)
def test_names_in_the_engine_and_names_that_ssh_takes_mean_the_node(
    named: NamedNodes, text: str, node: Node, reached: Host
) -> None:
    assert named.find_all(parse_hosts(text)) == {reached: node}


def test_the_name_that_ssh_takes_goes_before_another_nodes_name_in_the_engine(context: Context) -> None:
    other = Node("debian", "10.0.0.5", WORKER, "ready", id="n5", node="debian-2")
    nodes = NamedNodes((SERVER, other), DiscoveredCluster("mya"), context)
    assert nodes.find(Host("debian")) == other


def test_a_port_of_another_host_is_not_taken_for_this_one(context: Context) -> None:
    nodes = [
        Node(name, address, WORKER, "ready", contact=f"root@{name}", id=address, node=name)
        for name, address in (("127.0.0.1:22", "10.0.0.1"), ("127.0.0.1:2201", "10.0.0.2"))
    ]
    named = NamedNodes(nodes, DiscoveredCluster("mya"), context)
    assert named.find(Host("127.0.0.1", port=2201)) == nodes[1]
    assert named.find(Host("127.0.0.1", port=2202)) is None


def test_what_is_no_host_of_the_cluster_is_refused_with_all_names_that_it_has(named: NamedNodes) -> None:
    with pytest.raises(
        NotFoundError, match=r"nope is not a host of cluster mya: it has srv \(node debian\), .*, mya-3"
    ):
        named.find_all(parse_hosts("nope"))


def test_one_node_by_two_names_is_given_twice(named: NamedNodes) -> None:
    with pytest.raises(UsageError, match="srv and debian are the same host, given twice"):
        named.find_all(parse_hosts("srv,debian"))


def test_hosts_to_add_may_be_named_as_nodes_and_as_local_hosts(named: NamedNodes) -> None:
    assert named_nodes.reach(parse_hosts("debian,new,mya-3,mya-9"), named) == (
        ANSWERED,
        Host("new"),
        STOPPED,
        Host("mya-9"),
    )


def test_local_hosts_may_be_named_where_clusters_are_looked_for(context: Context, named: NamedNodes) -> None:
    asked = Context(context.settings, Silence(), "me@here", hosts=parse_hosts("mya-3,other"))
    assert discovery.list_candidates(asked).near == (STOPPED, Host("other"))
