"""Two hundred short jobs, of which each ends in its own way, while the engine is killed and a host is lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.hosts import LocalCluster, prepare_local_cluster
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

COUNT, SWEEP, SECONDS = 200, 100, 900  # jobs, jobs of one sweep
# How a job ends, by its number: exit code and state.
ENDS = ((0, "succeeded"), (3, "failed"), (0, "succeeded"), (139, "failed"), (1, "failed"), (0, "succeeded"))
PROGRAM = """
sleep $(($1 % 4))
case $(($1 % 6)) in
    1) echo "ends $1"; exit 3 ;;
    3) echo "ends $1"; kill -SEGV $$ ;;
    4) echo "ends $1"; exit 1 ;;
    *) echo "ends $1"; exit 0 ;;
esac
"""
KILL_ENGINE = {"nomad": "pkill -KILL -x nomad", "kubernetes": "pkill -KILL -x kubelet"}
LOST = re.compile(r"its host \S+ was (lost|restarted)")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_none_of_many_jobs_is_called_other_than_it_ended_whatever_happens_to_its_host(
    provider: str, tmp_path: Path
) -> None:
    with prepare_local_cluster("many", 3, tmp_path) as cluster:
        cluster.create("-p", provider, "--images=cloudmesh", seconds=600).ok()
        _submit(cluster, tmp_path)
        killed, lost = cluster.host(2), cluster.host(3)
        _wait_for(cluster, COUNT // 6)
        killed.run(KILL_ENGINE[provider])
        _wait_for(cluster, COUNT // 3)
        lost.container.kill()
        _wait_for(cluster, COUNT // 2)
        lost.container.start()
        _wait_for(cluster, COUNT)
        jobs = _read_jobs(cluster)
    assert len(jobs) == COUNT
    assert [job for job in jobs if not _is_true(job, lost.name)] == []
    # Of what is said of the lost host, the jobs that ran there alone.
    assert sum(bool(LOST.search(job["reason"] or "")) for job in jobs) < COUNT // 4


def _submit(cluster: LocalCluster, folder: Path) -> None:
    file = write_job_file(
        folder,
        image="cloudmesh",
        params={"number": {"type": "int", "required": True}},
        command=["sh", "-c", PROGRAM, "job"],
        arguments=["${params.number}"],
    )
    for first in range(0, COUNT, SWEEP):
        numbers = ",".join(map(str, range(first, first + SWEEP)))
        words = ("submit", "-n", cluster.name, "--sweep", f"--id=from-{first}", "--detach", f"--param=number={numbers}")
        cluster.operator.cms(*words, file, seconds=SECONDS).ok()


def _read_jobs(cluster: LocalCluster) -> list[dict[str, Any]]:
    outcome = cluster.operator.cms("jobs", "-n", cluster.name, "--output=json")
    jobs: list[dict[str, Any]] = outcome.json() if outcome.status == 0 else []
    return jobs


def _wait_for(cluster: LocalCluster, count: int) -> None:
    """Wait until so many jobs have ended."""

    def ended() -> int:
        return sum(job["state"] in ("succeeded", "failed") for job in _read_jobs(cluster))

    assert wait_until(ended, SECONDS, satisfies=lambda number: number >= count) >= count, _read_jobs(cluster)


def _is_true(job: dict[str, Any], lost: str) -> bool:
    """Return whether a job is told as it ended: of one on the lost host, that it was lost may be all that is known."""
    _, first, place = job["id"].split("-")
    number = int(first) + int(place) - 1
    code, state = ENDS[number % len(ENDS)]
    if (job["state"], job["exit_code"]) == (state, code):
        return True
    return job["state"] == "failed" and lost in job["hosts"] and bool(LOST.search(job["reason"] or ""))
