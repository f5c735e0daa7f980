"""All hosts of a cluster are restarted at once: it is healthy again by itself, and tells nothing stale meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.hosts import LocalCluster, prepare_local_cluster
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

HEALTHY_SECONDS = 120


@pytest.mark.parametrize("provider", PROVIDERS)
def test_after_a_restart_of_all_hosts_the_same_cluster_is_healthy_and_nothing_that_ran_before_is_said_to_run(
    provider: str, tmp_path: Path
) -> None:
    with prepare_local_cluster("all", 2, tmp_path) as cluster:
        cluster.create("-p", provider, "--images=cloudmesh", seconds=600).ok()
        file = write_job_file(tmp_path, image="cloudmesh", command=["sleep", "900"])
        cms = cluster.operator.cms
        cms("submit", "-n", cluster.name, "--id=cut", "--detach", file).ok()
        assert wait_until(lambda: _read_states(cluster) == {"running"}, 60), "never: the job runs"
        before = cluster.read_info()["id"]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: host.container.restart(timeout=2), cluster.list_hosts()))
        for states, info in _watch(cluster):
            assert "running" not in states, (states, info)
            if info.get("healthy"):
                break
        assert info["id"] == before
        assert wait_until(lambda: _read_states(cluster) == {"failed"}, 60), "never: the job has failed"
        assert "restarted" in cms("jobs", "-n", cluster.name, "cut", "--output=json").json()["reason"]
        again = write_job_file(tmp_path, image="cloudmesh", command=["echo", "again"])
        assert cms("submit", "-n", cluster.name, "--id=again", again).ok().stdout == "again\n"


def _watch(cluster: LocalCluster) -> Iterator[tuple[set[str], dict[str, Any]]]:
    """Yield what is told of the job, and of the cluster where that is known, until it must be healthy."""
    deadline = time.monotonic() + HEALTHY_SECONDS
    while time.monotonic() < deadline:
        states = _read_states(cluster)
        outcome = cluster.operator.cms("info", "-n", cluster.name, "--output=json")
        yield states, json.loads(outcome.stdout or "{}")
    pytest.fail(f"not healthy after {HEALTHY_SECONDS} s: {outcome}")


def _read_states(cluster: LocalCluster) -> set[str]:
    """Return the states of the job that are told by itself and in the list of jobs; those that are known."""
    outcomes = [cluster.operator.cms("jobs", "-n", cluster.name, *words, "--output=json") for words in (["cut"], [])]
    answers = [json.loads(outcome.stdout) for outcome in outcomes if outcome.status == 0]
    return {job["state"] for answer in answers for job in (answer if isinstance(answer, list) else [answer])}
