"""What every provider promises of `cms cluster test`: a healthy cluster passes, and a fault is named with its host."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import docker
import pytest
from support.cms import Outcome
from support.hosts import ContainerHost
from support.waiting import wait_until

from contract.conftest import Cluster
from contract.test_storage import lake  # noqa: F401 - a fixture

pytestmark = pytest.mark.cluster

DIRECTORY = "/srv/cms-proof"
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
class CheckReport:
    """What `cms cluster test` reported.

    Attributes:
        results: what it printed, by check and host.
    """

    outcome: Outcome
    results: Mapping[tuple[str, str], Mapping[str, str]]

    def list_failed(self) -> set[tuple[str, str]]:
        """Return the check and host of every check that failed."""
        return {key for key, result in self.results.items() if result["result"] == "failed"}


@dataclass(frozen=True)
class Hosts:
    """The hosts of a cluster by their names, and their addresses."""

    machines: Mapping[str, ContainerHost]
    addresses: Mapping[str, str]
    registry: str

    def name(self, number: int) -> str:
        return sorted(self.machines)[number - 1]

    @contextmanager
    def break_while(self, number: int, begin: str, end: str) -> Iterator[None]:
        """Break something on a host for as long as the block lasts."""
        self.machines[self.name(number)].run(begin)
        try:
            yield
        finally:
            self.machines[self.name(number)].run(end)

    def cut_off(self, number: int, *others: int) -> contextmanager[None]:
        """Let no packet pass between a host and others."""
        rules = [
            rule
            for other in others
            for address in [self.addresses[self.name(other)]]
            for rule in (f"INPUT -s {address} -j DROP", f"OUTPUT -d {address} -j DROP")
        ]
        begin, end = (" && ".join(f"iptables {verb} {rule}" for rule in rules) for verb in ("-I", "-D"))
        return self.break_while(number, begin, end)


@pytest.fixture(scope="module")
def hosts(cluster: Cluster) -> Iterator[Hosts]:
    """Yield the cluster's hosts; it has the volume "proof" meanwhile."""
    info = cluster.cms("info", "--output=json").json()
    client = docker.from_env()
    cluster.cms("storage", "add", f"--directory={DIRECTORY}", "proof").ok()
    try:
        names = [node["name"] for node in info["nodes"]]
        machines = {name: ContainerHost(client.containers.get(name)) for name in names}
        yield Hosts(machines, {node["name"]: node["address"] for node in info["nodes"]}, info["registry"])
    finally:
        cluster.cms("storage", "remove", "--yes", "proof").ok()
        client.close()


def run_test(cluster: Cluster) -> CheckReport:
    """Run `cms cluster test`, which may fail."""
    outcome = cluster.cms("test", "--output=json")
    rows = json.loads(outcome.stdout)
    return CheckReport(outcome, {(row["check"], row["host"]): row for row in rows})


@pytest.fixture(scope="module")
def thrice_broken(cluster: Cluster, hosts: Hosts) -> CheckReport:
    """Return the results where host 1 cannot write to a volume, host 2 has a full disk, host 3 has no registry."""
    port = hosts.registry.rpartition(":")[2]
    state = "/var/lib/cloudmesh/host"
    rule = f"OUTPUT -p tcp --dport {port} -j REJECT"
    with ExitStack() as stack:
        for number, begin, end in (
            (1, f"mount --bind {DIRECTORY} {DIRECTORY} && mount -o remount,ro,bind {DIRECTORY}", f"umount {DIRECTORY}"),
            (2, f"mount -t tmpfs -o size=16m none {state}", f"umount {state}"),
            (3, f"iptables -I {rule}", f"iptables -D {rule}"),
        ):
            stack.enter_context(hosts.break_while(number, begin, end))
        return run_test(cluster)


def test_a_healthy_cluster_passes_and_every_host_is_told_for_every_check(cluster, hosts):
    report = run_test(cluster)
    report.outcome.ok()
    assert not report.list_failed()
    assert {key for key in report.results if key[1] != "-"} == {
        (check, name) for check in CHECKS for name in hosts.machines
    }
    assert report.outcome.seconds < BOUND_SECONDS
    assert cluster.cms("jobs", "--output=json").json()[0]["state"] != "running"


def test_a_host_whose_disk_is_full_is_told(hosts, thrice_broken):
    result = thrice_broken.results["disk", hosts.name(2)]
    assert (result["result"], "/var/lib/cloudmesh/host" in result["cause"]) == ("failed", True)
    assert result["remedy"]


def test_a_host_without_a_way_to_the_registry_is_told(hosts, thrice_broken):
    result = thrice_broken.results["registry", hosts.name(3)]
    assert result["result"] == "failed"
    assert "connect" in result["cause"].lower()


def test_a_place_that_cannot_be_written_to_is_told(hosts, thrice_broken):
    result = thrice_broken.results["storage proof", hosts.name(1)]
    assert (result["result"], result["cause"]) == ("failed", "cannot be written: Read-only file system")


def test_what_is_broken_fails_the_command_and_nothing_else_is_blamed(hosts, thrice_broken):
    wrong = {("storage proof", hosts.name(1)), ("disk", hosts.name(2)), ("registry", hosts.name(3))}
    assert thrice_broken.list_failed() == wrong
    assert thrice_broken.outcome.status == 1
    assert thrice_broken.outcome.stderr.splitlines()[-1].startswith("ERROR: 3 of ")


def test_two_hosts_that_do_not_reach_each_other_are_told_by_name(cluster, hosts):
    two, three = hosts.name(2), hosts.name(3)
    with hosts.cut_off(2, 3):
        report = run_test(cluster)
    assert report.outcome.status == 1
    assert report.outcome.seconds < BOUND_SECONDS
    assert f"no way to {three}" in report.results["network", two]["cause"], report.outcome
    assert f"no way to {two}" in report.results["network", three]["cause"]
    assert report.results["network", hosts.name(1)]["result"] == "ok"


def test_a_host_cut_off_from_all_others_is_told_in_bounded_time(cluster, hosts):
    lost = hosts.name(3)
    with hosts.cut_off(3, 1, 2):
        report = run_test(cluster)
    assert report.outcome.status == 1
    assert report.outcome.seconds < BOUND_SECONDS
    assert lost in {host for _, host in report.list_failed()}
    assert {("network", hosts.name(1)), ("network", hosts.name(2))} & report.list_failed() == set()
    assert wait_until(lambda: cluster.cms("info", "--output=json").json()["healthy"], 120), (
        "never: the cluster is healthy again"
    )


def test_a_bucket_is_written_to_and_read_by_spark_and_nothing_is_left_there(cluster, lake):  # noqa: F811
    def read_rows() -> list[dict[str, str]]:
        return [row for (check, _), row in run_test(cluster).results.items() if check == "storage lake"]

    # Where a host is not yet what it was before it was cut off, it is not tried.
    rows = wait_until(read_rows, 120, satisfies=lambda rows: [row["result"] for row in rows] != ["skipped"])
    assert [row["result"] for row in rows] == ["ok"]
    assert not list((lake.files / "in").glob("cms-test*/part*"))
