"""Servers come and go as long as most of them stay, and what hosts know of them is as new as the newest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.memory_engine.provider import MemoryProvider

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Host, Marker, Node, Role
from cloudmesh.cluster.hosts import marker
from cloudmesh.cluster.lifecycle import servers

SECRETS = ClusterSecrets(certificates.new_authority("demo"), {})
SPEC = ClusterSpec("demo", "abc", "memory", ("10.0.0.1", "10.0.0.2", "10.0.0.3"), SECRETS)


def make_nodes(*statuses: str) -> list[Node]:
    return [
        Node(f"h{number}", f"10.0.0.{number}", (Role.SERVER,), status, id=f"n{number}")
        for number, status in enumerate(statuses, 1)
    ]


def check(nodes: list[Node], *leaving: int) -> None:
    servers.check_fewer_servers("demo", nodes, {Host(f"h{number}"): nodes[number - 1] for number in leaving})


@pytest.mark.parametrize(
    ("statuses", "leaving"),
    [
        (("ready",) * 3, (1,)),
        (("ready",) * 3, (1, 2)),
        (("ready", "ready"), (2,)),
        (("down", "ready", "ready"), (1,)),
        (("no API", "ready", "ready"), (1,)),
        (("ready", "down", "ready"), (1, 2)),
        (("ready",) * 3 + ("down",) * 2, (4, 5)),
    ],
)
def test_servers_leave_while_those_that_live_are_a_majority(
    statuses: tuple[str, ...], leaving: tuple[int, ...]
) -> None:
    check(make_nodes(*statuses), *leaving)


@pytest.mark.parametrize(
    ("statuses", "leaving", "cause"),
    [
        (("ready",), (1,), "h1 is the last server: to end the cluster, use `cms cluster kill -n demo`"),
        (("ready",) * 3, (1, 2, 3), "h3 is the last server: "),
        (
            ("down", "ready", "ready"),
            (2,),
            "h2 is not removed: without it 1 of 2 servers are known to live, which is no majority",
        ),
        (("silent", "ready", "ready"), (2,), "h2 is not removed: without it 1 of 2 servers are known to live"),
        (("ready", "down"), (1,), "h1 is not removed: without it 0 of 1 servers are known to live"),
    ],
)
def test_a_server_without_which_there_is_no_majority_stays(
    statuses: tuple[str, ...], leaving: tuple[int, ...], cause: str
) -> None:
    with pytest.raises(UsageError) as raised:
        check(make_nodes(*statuses), *leaving)
    assert str(raised.value).startswith(cause)


def test_a_server_that_the_engine_has_forgotten_is_no_part_of_the_majority() -> None:
    gone = Node("h4", "10.0.0.4", (Role.SERVER,), "unknown")
    servers.check_fewer_servers("demo", make_nodes("ready"), {Host("h4"): gone})


def test_more_servers_are_as_many_as_have_a_clear_majority() -> None:
    five = servers.check_more_servers(SPEC, ["10.0.0.4", "10.0.0.5"])
    assert (five.servers, five.generation) == ((*SPEC.servers, "10.0.0.4", "10.0.0.5"), 1)
    assert servers.check_more_servers(SPEC, ["10.0.0.2"]) == SPEC
    with pytest.raises(UsageError, match=r"^cluster demo has 3 servers, and would have 4: name so many hosts that "):
        servers.check_more_servers(SPEC, ["10.0.0.4"])


def test_a_host_gets_the_newer_list_and_stays_what_it_is() -> None:
    old = Marker("demo", "abc", "memory", Role.WORKER, "10.0.0.9", SPEC.servers, "n9")
    files = servers.server_files(servers.with_servers(SPEC, ("10.0.0.2", "10.0.0.3")), MemoryProvider(), old)
    assert marker.loads(files["etc/marker.json"]) == replace(old, servers=("10.0.0.2", "10.0.0.3"), generation=1)
