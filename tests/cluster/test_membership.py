"""Who is in a cluster: asked, joined, taken out; by an operator who has a key and the name of one server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import snapshot
from support.cms import Operator, Outcome
from support.hosts import Group, HandMade, group_name, hand_made

pytestmark = pytest.mark.cluster

AGENTS = """
for unit in cloudmesh-nomad cloudmesh-registry docker; do
    systemctl show -p Id -p MainPID -p ActiveEnterTimestampMonotonic $unit
done
cat /etc/cloudmesh/cluster/marker.json
"""
TRACES = """
ls -d /etc/cloudmesh /opt/cloudmesh /var/lib/cloudmesh/* /etc/systemd/system/cloudmesh-* 2>/dev/null
pgrep -l nomad
ss -Hltn | grep -E ':(464[678]|5443) '
true
"""


@dataclass(frozen=True)
class Made:
    """A cluster of the first three of a group's hosts; the others are strangers.

    Attributes:
        operator: who made it.
    """

    name: str
    group: Group
    operator: Operator

    @property
    def members(self) -> tuple[HandMade, ...]:
        return self.group.hosts[:3]

    @property
    def server(self) -> HandMade:
        return self.group.hosts[0]

    def whole(self) -> Outcome:
        """Make the cluster what it is meant to be, whatever a test did to it."""
        return self.operator.cms("create", "-n", self.name, *self.group.where[:3]).ok()

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return what `info` says of each host, by the name that the operator gave it."""
        found = self.operator.cms("info", "-n", self.name, "--output=json").json()["nodes"]
        return {node["name"]: node for node in found}

    def stranger(self, home: Path) -> Operator:
        """Return an operator who has the key and nothing else."""
        assert list(home.iterdir()) == []
        return Operator(home, self.operator.key)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    name = group_name("member")
    with hand_made(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 5) as group:
        cluster = Made(name, group, Operator(tmp_path_factory.mktemp("home"), group.key))
        cluster.whole()
        yield cluster


def untouched(host: HandMade) -> bool:
    return host.run(TRACES) == ""


def test_the_traces_that_are_looked_for_are_there_in_a_cluster(made: Made) -> None:
    assert len(made.server.run(TRACES).splitlines()) >= 8


def test_info_tells_every_host_as_json(made: Made) -> None:
    info = made.operator.cms("info", "-n", made.name, "--output=json").json()
    assert (info["name"], info["provider"], info["healthy"]) == (made.name, "nomad", True)
    assert {node["name"]: (node["address"], node["status"]) for node in info["nodes"]} == {
        host.where: (host.address, "ready") for host in made.members
    }
    assert [node["name"] for node in info["nodes"] if "server" in node["roles"]] == [made.server.where]


def test_list_has_the_cluster_once_as_json(made: Made) -> None:
    rows = made.operator.cms("list", "--output=json").json()
    assert [row for row in rows if row["name"] == made.name] == [{"name": made.name, "provider": "nomad"}]


def test_create_again_restarts_nothing_and_says_so(made: Made) -> None:
    before = [host.run(AGENTS) for host in made.members]
    assert "nothing to do" in made.whole().stderr
    assert [host.run(AGENTS) for host in made.members] == before
    assert "MainPID=0" not in before[0]


def test_an_unknown_host_key_is_refused_with_its_fingerprint(made: Made, tmp_path: Path) -> None:
    operator = dataclasses.replace(made.stranger(tmp_path), trusting=False)
    outcome = operator.cms("info", "-n", made.name, f"--hosts={made.server.where}")
    fingerprint = made.server.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    assert outcome.status == 1
    assert f"{made.server.where}: unknown host key" in outcome.stderr
    assert fingerprint in outcome.stderr
    assert "--accept-new-hostkeys" in outcome.stderr


def test_an_unknown_cluster_is_not_found(made: Made) -> None:
    outcome = made.operator.cms("info", "-n", f"{made.name}-no")
    assert (outcome.status, outcome.stdout) == (3, "")
    assert f"{made.name}-no" in outcome.stderr


def test_a_host_of_another_cluster_is_refused_and_named(made: Made) -> None:
    member, free = made.members[1], made.group.hosts[4]
    outcome = made.operator.cms("create", "-n", f"{made.name}-b", free.where, member.where)
    assert outcome.status == 1
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR")]
    assert f"{member.where}: belongs to the cluster {made.name}" in line
    assert untouched(free)


def test_one_machine_under_two_addresses_is_refused(made: Made) -> None:
    free = made.group.hosts[4]
    outcome = made.operator.cms("create", "-n", f"{made.name}-b", free.where, free.address)
    assert outcome.status == 1
    assert "the same machine" in outcome.stderr
    assert free.where in outcome.stderr
    assert free.address in outcome.stderr
    assert untouched(free)


@pytest.mark.parametrize("knows", ["from-earlier", "by-hosts"])
def test_the_same_name_on_other_hosts_is_refused(made: Made, tmp_path: Path, knows: str) -> None:
    free = made.group.hosts[4]
    if knows == "from-earlier":
        outcome = made.operator.cms("create", "-n", made.name, free.where)
    else:
        outcome = made.stranger(tmp_path).cms("create", "-n", made.name, f"--hosts={made.server.where}", free.where)
    assert outcome.status == 1
    assert f"{made.name} exists already" in outcome.stderr
    assert made.server.where in outcome.stderr
    assert untouched(free)


def test_a_network_device_that_is_not_there_is_refused(made: Made) -> None:
    free = made.group.hosts[4]
    outcome = made.operator.cms("create", "-n", f"{made.name}-b", "--interface=none7", free.where)
    assert outcome.status == 1
    assert "none7" in outcome.stderr
    assert free.address in outcome.stderr
    assert untouched(free)


def test_a_server_is_not_removed(made: Made) -> None:
    before = made.server.run(AGENTS)
    outcome = made.operator.cms("remove", "-n", made.name, made.server.where)
    assert outcome.status == 2
    assert f"{made.server.where} is a server" in outcome.stderr
    assert made.server.run(AGENTS) == before


def test_a_host_that_is_not_in_the_cluster_is_not_removed(made: Made) -> None:
    free = made.group.hosts[4]
    outcome = made.operator.cms("remove", "-n", made.name, free.where)
    assert outcome.status == 3
    assert free.where in outcome.stderr


def test_a_host_is_added_and_removed_again_without_a_trace(made: Made) -> None:
    made.whole()
    fourth = made.group.hosts[3]
    before, agents = snapshot.taken(fourth), [host.run(AGENTS) for host in made.members]

    made.operator.cms("add", "-n", made.name, fourth.where).ok()
    nodes = made.nodes()
    assert {name: node["status"] for name, node in nodes.items()} == dict.fromkeys(made.group.where[:4], "ready")
    assert nodes[fourth.where]["roles"] == ["worker"]
    again = made.operator.cms("add", "-n", made.name, fourth.where).ok()
    assert "nothing to do" in again.stderr

    outcome = made.operator.cms("remove", "-n", made.name, fourth.where).ok()
    assert f"{fourth.where}: drain" in outcome.stderr
    assert set(made.nodes()) == set(made.group.where[:3])
    assert snapshot.differences(before, fourth) == []
    assert [host.run(AGENTS) for host in made.members] == agents


def test_a_host_that_is_gone_is_removed_and_named_and_the_rest_is_done(made: Made) -> None:
    made.whole()
    gone, other = made.members[2], made.group.hosts[3]
    made.operator.cms("add", "-n", made.name, other.where).ok()
    gone.container.kill()
    try:
        outcome = made.operator.cms("remove", "-n", made.name, gone.where, other.where)
        assert outcome.status == 1
        (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR")]
        assert gone.where in line
        assert other.where not in line
        assert untouched(other)
        assert set(made.nodes()) == set(made.group.where[:2])
    finally:
        made.group.start(gone)


def test_from_an_empty_home_one_server_is_enough_to_see_and_to_add(made: Made, tmp_path: Path) -> None:
    made.whole()
    fourth, look = made.group.hosts[3], f"--hosts={made.server.where}"
    homes = [tmp_path / verb for verb in ("info", "add")]
    for home in homes:
        home.mkdir()

    found = made.stranger(homes[0]).cms("info", "-n", made.name, look, "--output=json").json()
    assert {node["name"] for node in found["nodes"]} == set(made.group.where[:3])
    made.stranger(homes[1]).cms("add", "-n", made.name, look, fourth.where).ok()
    assert made.nodes()[fourth.where]["status"] == "ready"


def test_from_an_empty_home_one_server_is_enough_to_kill_every_host(made: Made, tmp_path: Path) -> None:
    made.whole()
    look = f"--hosts={made.server.where}"
    operator = made.stranger(tmp_path)
    operator.cms("info", "-n", made.name, look).ok()
    # the server's host key is known by now; those of the others, how to reach them and which they are, the engine tells
    dataclasses.replace(operator, trusting=False).cms("kill", "-n", made.name, look).ok()
    assert [host.name for host in made.group.hosts if not untouched(host)] == []
    assert made.operator.cms("info", "-n", made.name).status == 3
