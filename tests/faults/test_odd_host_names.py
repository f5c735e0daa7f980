"""What every provider promises of hosts with odd names: each is a node of its own, and both its names are taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from contract.conftest import EXAMPLES, PROVIDERS
from contract.test_jobs import read_job
from support.cms import Operator, Outcome
from support.hosts import HostGroup, make_unique_name, start_hosts

pytestmark = pytest.mark.cluster

# What the hosts call themselves, and what the operator calls the first two in ~/.ssh/config.
HOSTNAMES = ("UPPER_case", "debian", "debian")
ALIASES = ("büro", "x" * 70)


@dataclass(frozen=True)
class OddCluster:
    """A cluster of three hosts with odd names.

    Attributes:
        name: of the cluster.
        provider: its kind.
        operator: who made it.
        group: its hosts.
        written: as the operator wrote the hosts.
    """

    name: str
    provider: str
    operator: Operator
    group: HostGroup
    written: tuple[str, ...]

    @property
    def nodes(self) -> list[str]:
        """What the nodes are called."""
        return ["buro", "x" * 63, f"127.0.0.1-{self.group.hosts[2].port}"]

    def cms(self, verb: str, *words: str) -> Outcome:
        """Run `cms cluster VERB -n NAME --hosts=HOST WORDS`, where HOST is the first."""
        return self.operator.cms(verb, "-n", self.name, f"--hosts={self.written[0]}", *words)

    def read_names(self) -> dict[str, str]:
        """Return the names of the nodes that are ready, by their hosts as they were written."""
        nodes = self.cms("info", "--output=json").json()["nodes"]
        return {node["name"]: node["node"] for node in nodes if node["status"] == "ready"}


@pytest.fixture(scope="module", params=PROVIDERS)
def odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OddCluster]:
    """Yield the cluster; its hosts are gone afterwards."""
    name, home = make_unique_name("names"), tmp_path_factory.mktemp("home")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ["13", "13", "13"]) as group:
        for host, hostname in zip(group.hosts, HOSTNAMES, strict=True):
            # The program hostname knows better what a name may be.
            host.run(f"echo {hostname} >/proc/sys/kernel/hostname && echo 127.0.1.1 {hostname} >>/etc/hosts")
        config = home / ".ssh" / "config"
        config.parent.mkdir()
        config.write_text(
            "".join(
                f"Host {alias}\n  HostName 127.0.0.1\n  Port {host.port}\n"
                for alias, host in zip(ALIASES, group.hosts, strict=False)
            )
        )
        written = (*ALIASES, group.hosts[2].where)
        cluster = OddCluster(name, request.param, Operator(home, group.key), group, written)
        dry = cluster.cms("create", "-p", cluster.provider, "--dryrun", *written).ok()
        for host, node in zip(written, cluster.nodes, strict=True):
            assert any(
                line.startswith(f"{host}: would ") and line.endswith(f", node {node}")
                for line in dry.stderr.splitlines()
            )
        cluster.cms("create", "-p", cluster.provider, "--images=spark", *written).ok()
        yield cluster


def test_each_host_is_a_node_of_its_own_and_both_names_are_shown(odd: OddCluster) -> None:
    assert odd.read_names() == dict(zip(odd.written, odd.nodes, strict=True))


def test_jobs_run_on_hosts_with_odd_names_and_tell_them_as_they_were_written(odd: OddCluster) -> None:
    outcome = odd.cms("submit", "--id=odd-pi", str(EXAMPLES / "pi.py"), "4").ok()
    assert "Pi is roughly 3.1" in outcome.stdout
    assert {task["host"] for task in read_job(odd, "odd-pi")["tasks"]} <= set(odd.written)  # type: ignore[arg-type]


def test_create_again_changes_no_name(odd: OddCluster) -> None:
    before = odd.read_names()
    odd.group.hosts[0].run("echo fit >/proc/sys/kernel/hostname")
    assert "nothing to do" in odd.cms("create", "-p", odd.provider, *odd.written).ok().stderr
    assert odd.read_names() == before


def test_a_host_leaves_by_its_nodes_name_and_comes_back_by_the_name_that_is_unique_now(odd: OddCluster) -> None:
    server, long, last = odd.written
    errors = odd.cms("remove", "--yes", "nobody").expect_failure(3)
    assert all(f"{host} (node {node})" in errors[0] for host, node in zip(odd.written, odd.nodes, strict=True))
    assert "nothing to do" in odd.cms("add", odd.nodes[2]).ok().stderr
    odd.cms("remove", "--yes", odd.nodes[2]).ok()
    assert set(odd.read_names()) == {server, long}
    odd.cms("add", last).ok()
    assert odd.read_names() == {server: "buro", long: "x" * 63, last: "debian"}
