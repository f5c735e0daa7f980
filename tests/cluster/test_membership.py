"""Which hosts are in a cluster: listed, added, removed, by an operator who has a key and the name of a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import snapshot
from support.cms import USER, Operator, Outcome
from support.hosts import ContainerHost, HostGroup, make_unique_name, start_hosts
from support.python_page import run_example

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
class SharedCluster:
    """A cluster of the first three hosts of a group, which all tests here share; the other hosts are free.

    Attributes:
        operator: who created it.
    """

    name: str
    group: HostGroup
    operator: Operator

    @property
    def hosts(self) -> tuple[ContainerHost, ...]:
        return self.group.hosts[:3]

    @property
    def server(self) -> ContainerHost:
        return self.group.hosts[0]

    def make_whole(self) -> Outcome:
        """Create the cluster, or complete what a test has taken from it."""
        return self.operator.cms("create", "-n", self.name, *self.group.where[:3]).ok()

    def read_nodes(self) -> dict[str, dict[str, Any]]:
        """Return the nodes as `info` shows them, by the name that the operator gave the host."""
        nodes = self.operator.cms("info", "-n", self.name, "--output=json").json()["nodes"]
        return {node["name"]: node for node in nodes}

    def list_known(self, host: ContainerHost) -> list[str]:
        """Return the first word of the comment of each entry for a host in the operator's known_hosts file."""
        lines = (self.operator.home / ".cloudmesh/cluster/known_hosts").read_text().splitlines()
        label, port = host.where.rsplit(":", 1) if ":" in host.where else (host.where, "")
        names = (f"[{label}]:{port}", host.where)
        return [line.split()[3] for line in lines if line.split()[0] in names]

    def make_stranger(self, home: Path) -> Operator:
        """Return an operator who has the key and nothing else."""
        assert list(home.iterdir()) == []
        return Operator(home, self.operator.key)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    name = make_unique_name("member")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 5) as group:
        shared = SharedCluster(name, group, Operator(tmp_path_factory.mktemp("home"), group.key))
        shared.make_whole()
        yield shared


def is_untouched(host: ContainerHost) -> bool:
    """Return whether a host has no trace of a cluster."""
    return host.run(TRACES) == ""


def test_the_traces_that_are_looked_for_are_there_in_a_cluster(cluster: SharedCluster) -> None:
    assert len(cluster.server.run(TRACES).splitlines()) >= 8


def test_info_tells_every_host_as_json(cluster: SharedCluster) -> None:
    info = cluster.operator.cms("info", "-n", cluster.name, "--output=json").json()
    assert (info["name"], info["provider"], info["healthy"]) == (cluster.name, "nomad", True)
    assert {node["name"]: (node["address"], node["status"]) for node in info["nodes"]} == {
        host.where: (host.address, "ready") for host in cluster.hosts
    }
    assert [node["name"] for node in info["nodes"] if "server" in node["roles"]] == [cluster.server.where]


@pytest.mark.parametrize("named", [False, True])
def test_user_and_key_given_at_create_need_not_be_given_again(cluster: SharedCluster, named: bool) -> None:
    bare = dataclasses.replace(cluster.operator, key=None)
    words = [f"--hosts={cluster.server.where}"] if named else []
    info = bare.cms("info", "-n", cluster.name, *words, "--output=json").json()
    assert info["healthy"]


def test_list_has_the_cluster_once_as_json(cluster: SharedCluster) -> None:
    rows = cluster.operator.cms("list", "--output=json").json()
    assert [row for row in rows if row["name"] == cluster.name] == [{"name": cluster.name, "provider": "nomad"}]


def test_create_again_restarts_nothing_and_says_so(cluster: SharedCluster) -> None:
    before = [host.run(AGENTS) for host in cluster.hosts]
    assert "nothing to do" in cluster.make_whole().stderr
    assert [host.run(AGENTS) for host in cluster.hosts] == before
    assert "MainPID=0" not in before[0]


def test_an_unknown_host_key_is_refused_with_its_fingerprint(cluster: SharedCluster, tmp_path: Path) -> None:
    operator = dataclasses.replace(cluster.make_stranger(tmp_path), trusting=False)
    outcome = operator.cms("info", "-n", cluster.name, f"--hosts={cluster.server.where}")
    fingerprint = cluster.server.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    assert outcome.status == 1
    assert f"{cluster.server.where}: unknown host key" in outcome.stderr
    assert fingerprint in outcome.stderr
    assert "--accept-new-hostkeys" in outcome.stderr


def test_an_unknown_cluster_is_not_found(cluster: SharedCluster) -> None:
    outcome = cluster.operator.cms("info", "-n", f"{cluster.name}-no")
    assert (outcome.status, outcome.stdout) == (3, "")
    assert f"{cluster.name}-no" in outcome.stderr


def test_a_host_of_another_cluster_is_refused_and_named(cluster: SharedCluster) -> None:
    member, free = cluster.hosts[1], cluster.group.hosts[4]
    outcome = cluster.operator.cms("create", "-n", f"{cluster.name}-b", free.where, member.where)
    assert outcome.status == 1
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR")]
    assert f"{member.where}: belongs to the cluster {cluster.name}" in line
    assert is_untouched(free)


def test_one_machine_under_two_addresses_is_refused(cluster: SharedCluster) -> None:
    free = cluster.group.hosts[4]
    outcome = cluster.operator.cms("create", "-n", f"{cluster.name}-b", free.where, free.address)
    assert outcome.status == 1
    assert "the same machine" in outcome.stderr
    assert free.where in outcome.stderr
    assert free.address in outcome.stderr
    assert is_untouched(free)


@pytest.mark.parametrize("knows", ["from-earlier", "by-hosts"])
def test_the_same_name_on_other_hosts_is_refused(cluster: SharedCluster, tmp_path: Path, knows: str) -> None:
    free = cluster.group.hosts[4]
    if knows == "from-earlier":
        outcome = cluster.operator.cms("create", "-n", cluster.name, free.where)
    else:
        outcome = cluster.make_stranger(tmp_path).cms(
            "create", "-n", cluster.name, f"--hosts={cluster.server.where}", free.where
        )
    assert outcome.status == 1
    assert f"{cluster.name} exists already" in outcome.stderr
    assert cluster.server.where in outcome.stderr
    assert is_untouched(free)


def test_a_network_device_that_is_not_there_is_refused(cluster: SharedCluster) -> None:
    free = cluster.group.hosts[4]
    outcome = cluster.operator.cms("create", "-n", f"{cluster.name}-b", "--interface=none7", free.where)
    assert outcome.status == 1
    assert "none7" in outcome.stderr
    assert free.address in outcome.stderr
    assert is_untouched(free)


def test_the_last_server_is_not_removed(cluster: SharedCluster) -> None:
    before = cluster.server.run(AGENTS)
    outcome = cluster.operator.cms("remove", "-n", cluster.name, cluster.server.where)
    assert outcome.status == 2
    assert f"{cluster.server.where} is the last server" in outcome.stderr
    assert cluster.server.run(AGENTS) == before


def test_a_host_that_is_not_in_the_cluster_is_not_removed(cluster: SharedCluster) -> None:
    free = cluster.group.hosts[4]
    outcome = cluster.operator.cms("remove", "-n", cluster.name, free.where)
    assert outcome.status == 3
    assert free.where in outcome.stderr


def test_a_host_is_added_and_removed_again_without_a_trace(cluster: SharedCluster) -> None:
    cluster.make_whole()
    fourth = cluster.group.hosts[3]
    before, agents = snapshot.take(fourth), [host.run(AGENTS) for host in cluster.hosts]

    cluster.operator.cms("add", "-n", cluster.name, fourth.where).ok()
    nodes = cluster.read_nodes()
    assert {name: node["status"] for name, node in nodes.items()} == dict.fromkeys(cluster.group.where[:4], "ready")
    assert nodes[fourth.where]["roles"] == ["worker"]
    again = cluster.operator.cms("add", "-n", cluster.name, fourth.where).ok()
    assert "nothing to do" in again.stderr

    outcome = cluster.operator.cms("remove", "-n", cluster.name, fourth.where).ok()
    assert f"{fourth.where}: drain" in outcome.stderr
    assert set(cluster.read_nodes()) == set(cluster.group.where[:3])
    assert snapshot.find_differences(before, fourth) == []
    assert cluster.list_known(fourth) == ["gone"]
    assert "gone" not in cluster.list_known(cluster.server)
    assert [host.run(AGENTS) for host in cluster.hosts] == agents


def test_the_python_page_finds_a_cluster_by_one_host_and_adds_another(cluster: SharedCluster, tmp_path: Path) -> None:
    cluster.make_whole()
    fourth = cluster.group.hosts[3]
    replacements = {
        '"prod"': f'"{cluster.name}"',
        'hosts="node01", user="admin"': (
            f'hosts="{cluster.server.where}", user="{USER}", key="{cluster.operator.key}", accept_new_hostkeys=True'
        ),
        '"node11"': f'"{fourth.where}"',
    }
    printed = run_example('"node11"', replacements, tmp_path, seconds=120)
    assert {line.split()[0]: line.split()[1] for line in printed.splitlines()} == dict.fromkeys(
        cluster.group.where[:4], "ready"
    )
    cluster.operator.cms("remove", "-n", cluster.name, fourth.where).ok()


def test_a_host_that_is_gone_is_removed_and_named_and_the_rest_is_done(cluster: SharedCluster) -> None:
    cluster.make_whole()
    dead, other = cluster.hosts[2], cluster.group.hosts[3]
    cluster.operator.cms("add", "-n", cluster.name, other.where).ok()
    dead.container.kill()
    try:
        outcome = cluster.operator.cms("remove", "-n", cluster.name, dead.where, other.where)
        assert outcome.status == 1
        (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR")]
        assert dead.where in line
        assert other.where not in line
        assert is_untouched(other)
        assert set(cluster.read_nodes()) == set(cluster.group.where[:2])
    finally:
        cluster.group.start(dead)


def test_from_an_empty_home_one_server_is_enough_to_see_and_to_add(cluster: SharedCluster, tmp_path: Path) -> None:
    cluster.make_whole()
    fourth, look = cluster.group.hosts[3], f"--hosts={cluster.server.where}"
    homes = [tmp_path / verb for verb in ("info", "add")]
    for home in homes:
        home.mkdir()

    info = cluster.make_stranger(homes[0]).cms("info", "-n", cluster.name, look, "--output=json").json()
    assert {node["name"] for node in info["nodes"]} == set(cluster.group.where[:3])
    cluster.make_stranger(homes[1]).cms("add", "-n", cluster.name, look, fourth.where).ok()
    assert cluster.read_nodes()[fourth.where]["status"] == "ready"


def test_from_an_empty_home_one_server_is_enough_to_kill_every_host(cluster: SharedCluster, tmp_path: Path) -> None:
    cluster.make_whole()
    look = f"--hosts={cluster.server.where}"
    operator = cluster.make_stranger(tmp_path)
    operator.cms("info", "-n", cluster.name, look).ok()
    # the server's host key is known by now; those of the others, how to reach them and which they are, the engine tells
    dataclasses.replace(operator, trusting=False).cms("kill", "-n", cluster.name, look).ok()
    assert [host.name for host in cluster.group.hosts if not is_untouched(host)] == []
    assert cluster.operator.cms("info", "-n", cluster.name).status == 3
