"""The engine restarts, or the cluster is ended, while jobs wait and run: what is told of them is true or unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.cms import Outcome
from support.hosts import LocalCluster, prepare_local_cluster

pytestmark = pytest.mark.cluster

# A static pod is started anew by its kubelet when its container is gone.
RESTART = {
    "nomad": "systemctl restart cloudmesh-nomad",
    "kubernetes": "systemctl restart cloudmesh-kubelet; pkill -KILL -x kube-apiserver",
}
SECONDS = 240


@pytest.mark.parametrize("provider", PROVIDERS)
def test_jobs_that_wait_or_are_sent_while_the_engine_restarts_have_their_true_outcome_and_later_it_is_unknown(
    provider: str, tmp_path: Path
) -> None:
    with prepare_local_cluster("restarts", 1, tmp_path) as cluster:
        cluster.create("-p", provider, "--images=cloudmesh", seconds=600).ok()
        cores = int(cluster.read_info()["nodes"][0]["free_cores"])
        _check_waiting_job(cluster, provider, cores, tmp_path)
        cluster.host(1).run(RESTART[provider])
        sent = _submit(cluster, "sent", write_job_file(tmp_path, image="cloudmesh", command=["echo", "sent"]))
        assert sent.ok().stdout == "sent\n"
        _check_killed_cluster(cluster, tmp_path)


def _submit(cluster: LocalCluster, job_id: str, *words: str) -> Outcome:
    return cluster.operator.cms("submit", "-n", cluster.name, f"--id={job_id}", *words, seconds=SECONDS)


def _check_waiting_job(cluster: LocalCluster, provider: str, cores: int, folder: Path) -> None:
    """Restart the engine while one job has all room and another one waits for it."""
    resources = {"cores": cores, "memory": "64m"}
    first = write_job_file(folder, image="cloudmesh", resources=resources, command=["sh", "-c", "sleep 25; echo first"])
    _submit(cluster, "first", "--detach", first).ok()
    waits = write_job_file(folder, image="cloudmesh", resources=resources, command=["sh", "-c", "echo waited; exit 3"])
    with cluster.operator.start("submit", "-n", cluster.name, "--id=waits", waits) as running:
        running.wait_until_shown("job: waits queued")
        cluster.host(1).run(RESTART[provider])
        outcome = running.wait(SECONDS)
    assert (outcome.stdout, outcome.status) == ("waited\n", 1), outcome
    outcome.expect_failure(1, "waits.*exit code 3")
    job = cluster.operator.cms("jobs", "-n", cluster.name, "first", "--output=json").json()
    assert job["state"] == "succeeded", job


def _check_killed_cluster(cluster: LocalCluster, folder: Path) -> None:
    """End the cluster while a job is followed."""
    file = write_job_file(folder, image="cloudmesh", command=["sh", "-c", "echo begun; sleep 600"])
    with cluster.operator.start("submit", "-n", cluster.name, "--id=ended", file) as running:
        running.wait_until_shown("job: ended running")
        cluster.operator.cms("kill", "-n", cluster.name, "--yes").ok()
        running.wait(SECONDS).expect_failure(1, "^job ended: the outcome is not known: .*; ask again: ")
