"""A host with output and results of a job goes down, is taken out while it is down, and all that is told by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from contract.test_growth import LEAVES_OUTPUT
from support.hosts import LocalCluster, prepare_local_cluster
from support.waiting import wait_until

pytestmark = pytest.mark.cluster


def write_three_tasks(folder: Path) -> str:
    """Write a job of three tasks, for which one host of two cores has no room; return its path."""
    spec = {
        "image": "spark",
        "resources": {"cores": 1, "memory": "64m"},
        "count": 3,
        "command": ["python3", "-c", LEAVES_OUTPUT],
    }
    file = folder / "job.yaml"
    file.write_text(
        json.dumps({"apiVersion": "cms/v1", "kind": "ContainerJob", "metadata": {"name": "three"}, "spec": spec})
    )
    return str(file)


def read_status(cluster: LocalCluster, host: str) -> str:
    """Return what the engine says of a host; empty where it has none of that name."""
    return next((node["status"] for node in cluster.read_info()["nodes"] if node["name"] == host), "")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_output_and_results_on_a_host_that_is_down_or_removed_are_told_and_the_rest_is_given(
    provider: str, tmp_path: Path
) -> None:
    with prepare_local_cluster("flostout", 2, tmp_path) as cluster:
        cluster.create("-p", provider, "--images=spark").ok()

        def cms(verb: str, *words: str):
            return cluster.operator.cms(verb, "-n", cluster.name, *words)

        cms("submit", "--id=three", write_three_tasks(tmp_path)).ok()
        tasks = cms("jobs", "three", "--output=json").json()["tasks"]
        lost = f"{cluster.name}-2"
        gone = sorted(task["name"] for task in tasks if task["host"] == lost)
        there = sorted(task["name"] for task in tasks if task["host"] != lost)
        assert gone
        assert there

        cluster.host(2).container.stop(timeout=1)
        assert wait_until(lambda: read_status(cluster, lost) == "down", 120, pause=1), "never: it is down"
        outcome = cms("logs", "three")
        outcome.expect_failure(1, f"^{lost}: it is down, and the output of {', '.join(gone)} of job three is there")
        assert sorted(outcome.stdout.splitlines()) == [f"printed by {task}" for task in there]
        outcome = cms("get", "three", str(tmp_path / "down"))
        outcome.expect_failure(1, rf"^{lost}: .*what {', '.join(gone)} left in \$CMS_RESULTS is there")
        assert sorted(path.parent.name for path in (tmp_path / "down").rglob("out")) == there

        outcome = cms("remove", "--yes", lost).ok()
        assert f"{lost}: output and results that these jobs have there are lost, as it is down: three" in outcome.stderr
        assert read_status(cluster, lost) == ""
        assert [host.name for host in cluster.list_hosts()] == [f"{cluster.name}-1"]
        outcome = cms("logs", "three")
        outcome.expect_failure(1, f"^{lost}: it is not in the cluster any more, and the output of {', '.join(gone)}")
        assert sorted(outcome.stdout.splitlines()) == [f"printed by {task}" for task in there]
        outcome = cms("get", "three", str(tmp_path / "removed"))
        outcome.expect_failure(1, rf"^{lost}: it is not in the cluster any more, and what {', '.join(gone)} left")
        assert sorted(path.parent.name for path in (tmp_path / "removed").rglob("out")) == there
        cluster.create("-p", provider).ok()
        cluster.check_whole()
