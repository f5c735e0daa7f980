"""Servers are wiped, lost, replaced and taken out: the cluster stays the one that it is, and its jobs are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.conftest import PROVIDERS
from support.cms import Operator, Outcome
from support.hosts import ContainerHost, HostGroup, make_unique_name, start_hosts
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

AUTHORITY = "sha256sum /etc/cloudmesh/cluster/ca.pem"
DOWN_SECONDS = 120
REMOVAL_SECONDS = 60  # of a host that is dead, the time until the engine calls it so included
TRACES = "ls -d /etc/cloudmesh /opt/cloudmesh /etc/kubernetes || pgrep 'nomad|kubelet|etcd|kube-apiserver'"


class Quartet:
    """Three servers, of which jobs are run, and a host that is free at first."""

    def __init__(self, provider: str, name: str, group: HostGroup, operator: Operator) -> None:
        self.provider, self.name, self.operator = provider, name, operator
        self.group, self.hosts = group, list(group.hosts)

    def cms(self, verb: str, *words: str, seconds: float = 600) -> Outcome:
        return self.operator.cms(verb, "-n", self.name, *words, seconds=seconds)

    def create(self) -> Outcome:
        where = [host.where for host in self.hosts[:3]]
        return self.cms("create", "-p", self.provider, "--servers=3", "--images=spark", *where)

    def read_nodes(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in self.cms("info", "--output=json").json()["nodes"]}

    def check(self, *numbers: int) -> None:
        """Do nothing; AssertionError: other hosts than these are the cluster's servers, or they do not know it."""
        hosts = [self.hosts[number] for number in numbers]
        expected = {host.where: ("server", "ready") for host in hosts}

        def read() -> dict[str, tuple[str, str]]:
            return {name: (node["roles"][0], node["status"]) for name, node in self.read_nodes().items()}

        assert wait_until(read, DOWN_SECONDS, pause=2, satisfies=lambda nodes: nodes == expected) == expected
        servers = [json.loads(host.run("cat /etc/cloudmesh/cluster/marker.json"))["servers"] for host in hosts]
        assert servers == [servers[0]] * len(hosts)
        assert sorted(servers[0]) == sorted(host.address for host in hosts)

    def run_job(self, folder: Path, job_id: str) -> str:
        spec = {"image": "spark", "resources": {"cores": 1, "memory": "64m"}, "command": ["echo", job_id]}
        file = folder / f"{job_id}.yaml"
        described = {"apiVersion": "cms/v1", "kind": "ContainerJob", "metadata": {"name": "job"}, "spec": spec}
        file.write_text(json.dumps(described))
        return self.cms("submit", f"--id={job_id}", str(file)).ok().stdout

    def identity(self, hosts: list[ContainerHost]) -> set[str]:
        return {f"{host.read_cluster_id()} {host.run(AUTHORITY)}" for host in hosts}


@pytest.fixture(scope="module", params=PROVIDERS)
def quartet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quartet]:
    name = make_unique_name("servers")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 4) as group:
        quartet = Quartet(request.param, name, group, Operator(tmp_path_factory.mktemp("home"), group.key))
        quartet.create().ok()
        yield quartet


def test_a_first_server_that_was_wiped_joins_again_and_nothing_is_made_anew(quartet: Quartet, tmp_path: Path) -> None:
    assert quartet.run_job(tmp_path, "before") == "before\n"
    (identity,) = quartet.identity(quartet.hosts[:3])
    quartet.hosts[0] = quartet.group.replace(quartet.hosts[0])
    outcome = quartet.create().ok()
    assert f"{quartet.hosts[0].where}: it was wiped, and joins again as the server that it was" in outcome.stderr
    quartet.check(0, 1, 2)
    assert quartet.identity(quartet.hosts[:3]) == {identity}
    assert quartet.cms("jobs", "before", "--output=json").json()["state"] == "succeeded"
    assert quartet.run_job(tmp_path, "wiped") == "wiped\n"
    assert "nothing to do" in quartet.create().ok().stderr


def test_a_server_whose_configuration_was_deleted_gets_it_again(quartet: Quartet, tmp_path: Path) -> None:
    identity = quartet.identity([quartet.hosts[2]])
    quartet.hosts[1].run("rm -rf /etc/cloudmesh /etc/kubernetes")
    quartet.create().ok()
    quartet.check(0, 1, 2)
    assert quartet.identity(quartet.hosts[:3]) == identity
    assert quartet.run_job(tmp_path, "deleted") == "deleted\n"


def test_a_server_that_is_lost_is_removed_and_another_one_takes_its_place(quartet: Quartet, tmp_path: Path) -> None:
    lost, *others = quartet.hosts
    lost.container.kill()
    outcome = quartet.cms("remove", "--force", "--yes", lost.where, seconds=REMOVAL_SECONDS)
    outcome.expect_failure(1, f"^{lost.where}: ")
    quartet.check(1, 2)
    assert quartet.run_job(tmp_path, "two") == "two\n"
    quartet.cms("add", "--server", others[2].where).ok()
    quartet.check(1, 2, 3)
    assert quartet.run_job(tmp_path, "three") == "three\n"
    states = {job["id"]: job["state"] for job in quartet.cms("jobs", "--output=json").json()}
    assert {job_id: states[job_id] for job_id in ("before", "two", "three")} == dict.fromkeys(
        ("before", "two", "three"), "succeeded"
    )


def test_a_server_without_which_there_is_no_majority_is_not_removed(quartet: Quartet) -> None:
    outcome = quartet.cms("remove", "--yes", *(host.where for host in quartet.hosts[1:]))
    assert (outcome.status, "is the last server" in outcome.stderr) == (2, True)
    quartet.check(1, 2, 3)


def test_a_living_server_leaves_without_a_trace(quartet: Quartet, tmp_path: Path) -> None:
    outcome = quartet.cms("remove", "--yes", quartet.hosts[1].where).ok()
    assert "2 servers are left, of which none may be lost" in outcome.stderr
    quartet.check(2, 3)
    assert not quartet.hosts[1].succeeds(TRACES)
    assert quartet.run_job(tmp_path, "last") == "last\n"
