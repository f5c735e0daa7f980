"""The server that leads is lost: jobs that run go on, others are taken within seconds, and answers stay right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.conftest import PROVIDERS
from support.cms import Outcome
from support.hosts import ContainerHost, LocalCluster, prepare_local_cluster
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

SECONDS = 30  # from the loss until a job is taken
JOB_SECONDS = 45
IS_LEADER = {
    "nomad": 'address=$(sed -n \'s/.*"address": "\\(.*\\)".*/\\1/p\' /etc/cloudmesh/cluster/marker.json) && '
    'curl --silent http://127.0.0.1:4646/v1/status/leader | grep -qF "$address:4647"',
    "kubernetes": "curl --silent http://127.0.0.1:2381/metrics | grep -qx 'etcd_server_is_leader 1'",
}
# Each of the numbers takes its part of the time, so that a lost executor has some of them.
SUM = """
import time
from pyspark import SparkContext
def slow(number):
    time.sleep(1)
    return number
print("sum", SparkContext().range(60, numSlices=60).map(slow).sum(), flush=True)
"""


class Trio:
    """A cluster of three servers, which take jobs too."""

    def __init__(self, provider: str, cluster: LocalCluster) -> None:
        self.provider, self.cluster = provider, cluster

    def cms(self, verb: str, *words: str, seconds: float = 240) -> Outcome:
        return self.cluster.operator.cms(verb, "-n", self.cluster.name, *words, seconds=seconds)

    def read_job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.cms("jobs", job_id, "--output=json").json()
        return job

    def wait_for_state(self, job_id: str, state: str, seconds: float = 120) -> dict[str, Any]:
        job = wait_until(lambda: self.read_job(job_id), seconds, pause=1, satisfies=lambda job: job["state"] == state)
        assert job["state"] == state, job
        return job

    def find_leader(self) -> ContainerHost:
        def find() -> list[ContainerHost]:
            hosts = [self.cluster.host(number) for number in (1, 2, 3)]
            return [host for host in hosts if host.succeeds(IS_LEADER[self.provider])]

        (leader,) = wait_until(find, 60, pause=1, satisfies=lambda leaders: len(leaders) == 1)
        return leader

    def wait_until_whole(self) -> None:
        def read() -> list[str]:
            return [node["status"] for node in self.cms("info", "--output=json").json()["nodes"]]

        assert wait_until(read, 180, pause=2, satisfies=lambda all_of: all_of == ["ready"] * 3) == ["ready"] * 3


@pytest.fixture(scope="module", params=PROVIDERS)
def trio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    with prepare_local_cluster("lostleader", 3, tmp_path_factory.mktemp("home")) as cluster:
        cluster.create("-p", request.param, "--servers=3", "--images=spark", seconds=600).ok()
        yield Trio(request.param, cluster)


def write_job(folder: Path, name: str, command: str) -> str:
    spec = {"image": "spark", "resources": {"cores": 1, "memory": "64m"}, "command": ["sh", "-c", command]}
    file = folder / f"{name}.yaml"
    described = {"apiVersion": "cms/v1", "kind": "ContainerJob", "metadata": {"name": name}, "spec": spec}
    file.write_text(json.dumps(described))
    return str(file)


def test_a_job_is_taken_within_seconds_and_those_that_run_are_untouched(trio: Trio, tmp_path: Path) -> None:
    leader = trio.find_leader()
    running = []
    while not running:
        job_id = f"runs-{len(list(tmp_path.iterdir()))}"
        trio.cms("submit", "--detach", f"--id={job_id}", write_job(tmp_path, job_id, f"sleep {JOB_SECONDS}; echo ran"))
        if trio.wait_for_state(job_id, "running")["tasks"][0]["host"] != leader.name:
            running.append(job_id)
    leader.container.kill()
    outcome = trio.cms("submit", "--detach", "--id=taken", write_job(tmp_path, "taken", "echo taken")).ok()
    assert outcome.seconds < SECONDS
    trio.wait_for_state("taken", "succeeded")
    assert trio.cms("logs", "taken").ok().stdout == "taken\n"
    for job_id in running:
        trio.wait_for_state(job_id, "succeeded")
        assert trio.cms("logs", job_id).ok().stdout == "ran\n"
    leader.container.start()
    trio.wait_until_whole()


def test_a_spark_job_that_loses_the_host_of_an_executor_gives_the_right_answer(trio: Trio, tmp_path: Path) -> None:
    (tmp_path / "sum.py").write_text(SUM)
    spec = {
        "mainApplicationFile": "sum.py",
        "driver": {"cores": 1, "memory": "512m"},
        "executor": {"instances": 3, "cores": 1, "memory": "512m"},
    }
    described = {"apiVersion": "cms/v1", "kind": "SparkJob", "metadata": {"name": "sum"}, "spec": spec}
    (tmp_path / "sum.yaml").write_text(json.dumps(described))
    trio.cms("submit", "--detach", "--id=sum", str(tmp_path / "sum.yaml"))

    def executors() -> list[str]:
        tasks = trio.wait_for_state("sum", "running")["tasks"]
        (driver,) = [task["host"] for task in tasks if task["name"] == "driver"]
        return [task["host"] for task in tasks if task["state"] == "running" and task["host"] != driver]

    hosts = wait_until(executors, 60, pause=1)
    assert hosts, "no executor runs on another host than the driver"
    lost = next(host for host in map(trio.cluster.host, (1, 2, 3)) if host.name == hosts[0])
    lost.container.kill()
    trio.wait_for_state("sum", "succeeded", seconds=300)
    assert trio.cms("logs", "sum").ok().stdout == f"sum {sum(range(60))}\n"
