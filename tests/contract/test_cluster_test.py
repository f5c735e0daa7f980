"""What every provider promises of `cms cluster test`: a healthy cluster passes, and what is broken is told by host."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import docker
import pytest
from support.cms import Outcome
from support.hosts import HandMade

from contract.conftest import Cluster
from contract.test_jobs import until
from contract.test_storage import lake  # noqa: F401 - a fixture

pytestmark = pytest.mark.cluster

PLACE = "/srv/cms-proof"
BOUND_SECONDS = 300
CHECKS = {
    "engine",
    "time",
    "memory",
    "disk",
    "registry",
    "runtime",
    "task",
    "network",
    "dns",
    "storage proof",
    "compute",
}


@dataclass(frozen=True)
class Proved:
    """A test of a cluster: how the command ended, what it found by check and host, and how long it took."""

    outcome: Outcome
    found: Mapping[tuple[str, str], Mapping[str, str]]
    seconds: float

    def failed(self) -> set[tuple[str, str]]:
        return {key for key, each in self.found.items() if each["result"] == "failed"}


@dataclass(frozen=True)
class Hosts:
    """The hosts of a cluster by their names, and their addresses."""

    machines: Mapping[str, HandMade]
    addresses: Mapping[str, str]
    registry: str

    def name(self, number: int) -> str:
        return sorted(self.machines)[number - 1]

    @contextmanager
    def broken(self, number: int, begin: str, end: str) -> Iterator[None]:
        """Break something on a host for as long as the block lasts."""
        self.machines[self.name(number)].run(begin)
        try:
            yield
        finally:
            self.machines[self.name(number)].run(end)

    def apart(self, number: int, *others: int) -> contextmanager[None]:
        """Let no packet pass between a host and others."""
        rules = [
            rule
            for other in others
            for address in [self.addresses[self.name(other)]]
            for rule in (f"INPUT -s {address} -j DROP", f"OUTPUT -d {address} -j DROP")
        ]
        begin, end = (" && ".join(f"iptables {verb} {rule}" for rule in rules) for verb in ("-I", "-D"))
        return self.broken(number, begin, end)


@pytest.fixture(scope="module")
def hosts(cluster: Cluster) -> Iterator[Hosts]:
    """Yield the cluster's hosts; it has a place for data meanwhile."""
    info = cluster.cms("info", "--output=json").json()
    client = docker.from_env()
    cluster.cms("storage", "add", f"--directory={PLACE}", "proof").ok()
    try:
        names = [node["name"] for node in info["nodes"]]
        machines = {name: HandMade(client.containers.get(name), 0, "") for name in names}
        yield Hosts(machines, {node["name"]: node["address"] for node in info["nodes"]}, info["registry"])
    finally:
        cluster.cms("storage", "remove", "--yes", "proof").ok()
        client.close()


def proved(cluster: Cluster) -> Proved:
    """Test the cluster."""
    begun = time.monotonic()
    outcome = cluster.cms("test", "--output=json")
    rows = json.loads(outcome.stdout)
    return Proved(outcome, {(row["check"], row["host"]): row for row in rows}, time.monotonic() - begun)


@pytest.fixture(scope="module")
def thrice_broken(cluster: Cluster, hosts: Hosts) -> Proved:
    """Return what is found where one host cannot write to a place, one's disk is full, one has no registry."""
    port = hosts.registry.rpartition(":")[2]
    state = "/var/lib/cloudmesh/host"
    rule = f"OUTPUT -p tcp --dport {port} -j REJECT"
    with ExitStack() as stack:
        for number, begin, end in (
            (1, f"mount --bind {PLACE} {PLACE} && mount -o remount,ro,bind {PLACE}", f"umount {PLACE}"),
            (2, f"mount -t tmpfs -o size=16m none {state}", f"umount {state}"),
            (3, f"iptables -I {rule}", f"iptables -D {rule}"),
        ):
            stack.enter_context(hosts.broken(number, begin, end))
        return proved(cluster)


def test_a_healthy_cluster_passes_and_every_host_is_told_for_every_check(cluster, hosts):
    found = proved(cluster)
    found.outcome.ok()
    assert not found.failed()
    assert {key for key in found.found if key[1] != "-"} == {
        (check, name) for check in CHECKS for name in hosts.machines
    }
    assert found.seconds < BOUND_SECONDS
    assert cluster.cms("jobs", "--output=json").json()[0]["state"] != "running"


def test_a_host_whose_disk_is_full_is_told(hosts, thrice_broken):
    told = thrice_broken.found["disk", hosts.name(2)]
    assert (told["result"], "/var/lib/cloudmesh/host" in told["cause"]) == ("failed", True)
    assert told["remedy"]


def test_a_host_without_a_way_to_the_registry_is_told(hosts, thrice_broken):
    told = thrice_broken.found["registry", hosts.name(3)]
    assert told["result"] == "failed"
    assert "connect" in told["cause"].lower()


def test_a_place_that_cannot_be_written_to_is_told(hosts, thrice_broken):
    told = thrice_broken.found["storage proof", hosts.name(1)]
    assert (told["result"], told["cause"]) == ("failed", "cannot be written: Read-only file system")


def test_what_is_broken_fails_the_command_and_nothing_else_is_blamed(hosts, thrice_broken):
    wrong = {("storage proof", hosts.name(1)), ("disk", hosts.name(2)), ("registry", hosts.name(3))}
    assert thrice_broken.failed() == wrong
    assert thrice_broken.outcome.status == 1
    assert thrice_broken.outcome.stderr.splitlines()[-1].startswith("ERROR: 3 of ")


def test_two_hosts_that_do_not_reach_each_other_are_told_by_name(cluster, hosts):
    two, three = hosts.name(2), hosts.name(3)
    with hosts.apart(2, 3):
        found = proved(cluster)
    assert found.outcome.status == 1
    assert found.seconds < BOUND_SECONDS
    assert f"no way to {three}" in found.found["network", two]["cause"], found.outcome
    assert f"no way to {two}" in found.found["network", three]["cause"]
    assert found.found["network", hosts.name(1)]["result"] == "ok"


def test_a_host_cut_off_from_all_others_is_told_in_bounded_time(cluster, hosts):
    lost = hosts.name(3)
    with hosts.apart(3, 1, 2):
        found = proved(cluster)
    assert found.outcome.status == 1
    assert found.seconds < BOUND_SECONDS
    assert lost in {host for _, host in found.failed()}
    assert {("network", hosts.name(1)), ("network", hosts.name(2))} & found.failed() == set()
    until(healthy(cluster), 120, "the cluster is healthy again")


def healthy(cluster: Cluster) -> Callable[[], bool]:
    return lambda: bool(cluster.cms("info", "--output=json").json()["healthy"])


def test_a_bucket_is_written_to_and_read_by_spark_and_nothing_is_left_there(cluster, lake):  # noqa: F811
    found = [row for (check, _), row in proved(cluster).found.items() if check == "storage lake"]
    assert [row["result"] for row in found] == ["ok"]
    assert not list((lake.files / "in").glob("cms-test*/part*"))
