"""A cluster is made of an older version, and upgraded while a job runs: cut off in the middle, and again to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.cms import Outcome
from support.hosts import LocalCluster, prepare_local_cluster

from cloudmesh.cluster.binaries import provide
from cloudmesh.cluster.binaries.pinned import find_engine
from cloudmesh.cluster.core.report import Silence

pytestmark = pytest.mark.cluster

OLDER = {"nomad": "1.10.4", "kubernetes": "1.36.1"}
# From one minor version to the next.
MINOR = {"nomad": ("1.10.5", "1.11.1"), "kubernetes": ("1.35.4", "1.36.3")}
SECONDS = 900
COUNT = "n=0; s=0; while [ $n -lt 40 ]; do n=$((n+1)); s=$((s+n)); sleep 2; done; echo $s"


class Aged:
    """A cluster of an older version: a server, a worker, and a host that is none of it yet."""

    def __init__(self, provider: str, cluster: LocalCluster) -> None:
        self.provider, self.cluster = provider, cluster
        self.older, self.newer = OLDER[provider], find_engine(provider).version

    def cms(self, verb: str, *words: str, seconds: float = SECONDS) -> Outcome:
        return self.cluster.operator.cms(verb, "-n", self.cluster.name, *words, seconds=seconds)

    def create(self, nodes: int, *more: str) -> Outcome:
        return self.cms("create", "-p", self.provider, f"--nodes={nodes}", *more)

    def read_versions(self) -> dict[str, tuple[str, str]]:
        nodes: list[dict[str, Any]] = self.cms("info", "--output=json").json()["nodes"]
        return {node["name"].rpartition("-")[2]: (node["version"], node["status"]) for node in nodes}

    def read_marker(self, number: int) -> dict[str, Any]:
        marker: dict[str, Any] = json.loads(self.cluster.host(number).run("cat /etc/cloudmesh/cluster/marker.json"))
        return marker


@pytest.fixture(scope="module", params=PROVIDERS)
def aged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aged]:
    for version in (OLDER[request.param], ""):
        provide(request.param, version=version, report=Silence())  # built once, in the cache
    with prepare_local_cluster("upgrade", 2, tmp_path_factory.mktemp("home")) as cluster:
        aged = Aged(request.param, cluster)
        aged.create(1, f"--engine-version={aged.older}", "--images=spark").ok()
        yield aged


def submit(aged: Aged, folder: Path, job_id: str, command: str) -> None:
    file = write_job_file(folder, command=["sh", "-c", command])
    aged.cms("submit", "--detach", f"--id={job_id}", file).ok()


def test_a_host_that_joins_an_older_cluster_gets_its_version(aged: Aged) -> None:
    assert aged.read_versions() == {"1": (aged.older, "ready")}
    refusal = aged.create(1, f"--engine-version={aged.newer}")
    refusal.expect_failure(2, f"has {aged.provider} {aged.older}: .*upgrade -n {aged.cluster.name} --to={aged.newer}")
    aged.create(2).ok()
    assert aged.read_versions() == {"1": (aged.older, "ready"), "2": (aged.older, "ready")}


def test_a_dryrun_shows_what_is_done_on_each_host_and_changes_nothing(aged: Aged) -> None:
    steps = aged.cms("upgrade", "--dryrun").ok()
    assert "healthy" in steps.stdout
    assert {version for version, _ in aged.read_versions().values()} == {aged.older}


def test_a_cluster_is_upgraded_while_its_job_goes_on_and_gives_the_right_answer(aged: Aged, tmp_path: Path) -> None:
    submit(aged, tmp_path, "counts", COUNT)
    with aged.cluster.operator.start("upgrade", "-n", aged.cluster.name, "--yes") as running:
        running.wait_until_shown(r"healthy", seconds=SECONDS)
        running.kill()
    assert aged.read_marker(1)["paused"]
    outcome = aged.cms("upgrade", "--yes").ok()
    assert f"runs {aged.provider} {aged.newer} on 2 hosts" in outcome.stderr
    assert aged.read_versions() == {"1": (aged.newer, "ready"), "2": (aged.newer, "ready")}
    assert [aged.read_marker(number)["paused"] for number in (1, 2)] == [False, False]

    assert aged.cms("logs", "--follow", "counts").ok().stdout == f"{sum(range(41))}\n"
    job = aged.cms("jobs", "counts", "--output=json").json()
    assert (job["state"], job["exit_code"], len(job["tasks"])) == ("succeeded", 0, 1)
    submit(aged, tmp_path, "after", "echo new")
    assert aged.cms("logs", "--follow", "after").ok().stdout == "new\n"
    assert aged.cluster.read_info()["healthy"]


def test_there_is_nothing_to_do_a_second_time_and_no_way_back(aged: Aged) -> None:
    assert "nothing to do" in aged.cms("upgrade", "--yes").ok().stderr
    (error,) = aged.cms("upgrade", "--yes", f"--to={aged.older}").expect_failure(2)
    assert error.startswith(f"{aged.provider} does not go back from {aged.newer} to {aged.older}")


def test_the_next_minor_version_comes_while_a_job_goes_on_and_none_is_skipped(aged: Aged, tmp_path: Path) -> None:
    before, after = MINOR[aged.provider]
    if {version for version, _ in aged.read_versions().values()} != {before}:
        provide(aged.provider, version=before, report=Silence())
        aged.cms("kill", "--yes").ok()
        aged.create(2, f"--engine-version={before}", "--images=spark").ok()
    provide(aged.provider, version=after, report=Silence())
    submit(aged, tmp_path, "crosses", COUNT)
    outcome = aged.cms("upgrade", "--yes", f"--to={after}").ok()
    assert f"runs {aged.provider} {after} on 2 hosts" in outcome.stderr
    assert aged.read_versions() == {"1": (after, "ready"), "2": (after, "ready")}
    assert aged.cms("logs", "--follow", "crosses").ok().stdout == f"{sum(range(41))}\n"
    submit(aged, tmp_path, "later", "echo newer")
    assert aged.cms("logs", "--follow", "later").ok().stdout == "newer\n"
    assert aged.cluster.read_info()["healthy"]
