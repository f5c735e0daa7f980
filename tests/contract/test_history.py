"""What every provider shows of jobs that were left to themselves: why they failed, for how long, and what is left."""

import json
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from support.waiting import wait_until

from contract.conftest import Cluster, run_on_all
from contract.test_containers import SECRET, write_job_file, write_secrets

pytestmark = pytest.mark.cluster

SLEEP_SECONDS, SHORT_TTL = 4, 60
HUNGRY = "print('a gigabyte', len(b'x' * (1 << 30)))"
LEAVE = 'echo kept >"$CMS_RESULTS/kept"'
JOBS: dict[str, dict] = {
    "left-well": {"command": ["sleep", str(SLEEP_SECONDS)], "count": 2},
    "left-bad": {"command": ["sh", "-c", "exit 7"]},
    "left-hungry": {"command": ["python3", "-c", HUNGRY]},
    "left-slow": {"command": ["sleep", "600"], "timeoutSeconds": 8},
    "left-unborn": {"image": "{registry}/no/such:1"},
    "left-brief": {"command": ["sh", "-c", LEAVE], "ttlSeconds": SHORT_TTL, "files": ["note.txt"]},
    "left-long": {"command": ["sh", "-c", LEAVE], "files": ["note.txt"]},
}
# What the registry does by itself now and then, of all that is old enough; and then, which jobs' images it has.
COLLECT = """
    cd /etc/cloudmesh/cluster && [ -e registry-collect.sh ] || exit 0
    sh registry-collect.sh 0 && ls /var/lib/cloudmesh/registry/docker/registry/v2/repositories/cms-jobs
"""
# On the server, by its own credentials.
SECRETS_OF = {
    "nomad": """
        secrets=/etc/cloudmesh/cluster/secrets.json
        [ ! -e $secrets ] || curl -s --noproxy '*' http://127.0.0.1:4646/v1/var/nomad/jobs/{job_id} \\
            -H "X-Nomad-Token: $(sed -n 's/.*"token": "\\([^"]*\\)".*/\\1/p' $secrets)"
    """,
    "kubernetes": """
        admin=/etc/kubernetes/admin.conf
        [ ! -e $admin ] || /opt/cloudmesh/bin/kubectl --kubeconfig $admin get secrets -n cms-jobs -l cms-job={job_id} \\
            -o go-template='{{{{range .items}}}}{{{{range .data}}}}{{{{. | base64decode}}}} {{{{end}}}}{{{{end}}}}'
    """,
}


@pytest.fixture(scope="module")
def left(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Return `JOBS` as `jobs` listed them when all of them had ended, by id."""
    folder, ended = tmp_path_factory.mktemp("jobs"), {}
    (folder / "note.txt").write_text("a file makes an image of its own of a job\n")
    registry = cluster.cms("info", "--output=json").json()["registry"]
    for job_id, spec in JOBS.items():
        image = spec.get("image", "spark").format(registry=registry)
        cluster.cms("submit", "--detach", f"--id={job_id}", write_job_file(folder, **{**spec, "image": image})).ok()

    def have_all_ended() -> bool:
        ended.update(list_jobs(cluster))
        return all(ended[job_id]["state"] in ("succeeded", "failed") for job_id in JOBS)

    assert wait_until(have_all_ended, 240), "never: all jobs have ended"
    return ended


def list_jobs(cluster: Cluster) -> dict[str, dict]:
    """Return all jobs as `jobs` lists them, by id."""
    return {job["id"]: job for job in cluster.cms("jobs", "--output=json").json()}


def test_a_job_that_succeeded_is_told_with_its_duration_hosts_and_exit_code(cluster, left):
    job = left["left-well"]
    assert (job["state"], job["exit_code"], job["reason"]) == ("succeeded", 0, "")
    assert SLEEP_SECONDS - 1 <= job["duration"] < 60
    hosts = {node["name"] for node in cluster.cms("info", "--output=json").json()["nodes"]}
    assert 1 <= len(job["hosts"]) <= 2
    assert set(job["hosts"]) <= hosts


@pytest.mark.parametrize(
    ("job_id", "code", "reason"),
    [
        ("left-bad", 7, "exit code 7"),
        ("left-hungry", 137, r"out of memory: |killed by SIGKILL \(exit code 137\)$"),
        ("left-slow", 124, "timeout"),
        ("left-unborn", None, r"image \S+/no/such:1 could not be pulled: \S"),
    ],
)
def test_a_job_that_nobody_watched_tells_why_it_failed(left, job_id, code, reason):
    job = left[job_id]
    assert (job["state"], job["exit_code"]) == ("failed", code)
    assert re.match(reason, job["reason"])
    assert job["duration"] < 60


def test_the_secrets_of_a_job_that_nobody_watched_are_gone_when_it_has_ended(cluster: Cluster, tmp_path: Path) -> None:
    secrets = [{"name": "word", "env": ["SECRET_WORD"]}]
    file = write_job_file(tmp_path, command=["sleep", "15"], secrets=secrets)
    cluster.cms("submit", "--detach", "--id=left-secret", write_secrets(tmp_path), file).ok()
    command = SECRETS_OF[cluster.provider].format(job_id="left-secret")
    assert SECRET in json.dumps(run_on_all(cluster, command))
    assert wait_until(lambda: list_jobs(cluster)["left-secret"]["state"] == "succeeded", 120), (
        "never: the job has ended"
    )
    list_jobs(cluster)
    assert SECRET not in json.dumps(run_on_all(cluster, command))


def test_a_job_and_its_results_are_kept_for_its_time_to_live_and_no_longer(cluster, left, tmp_path):
    assert wait_until(lambda: "left-brief" not in list_jobs(cluster), SHORT_TTL + 60), "never: the job is forgotten"
    submitted = datetime.fromisoformat(left["left-brief"]["submitted"].replace("Z", "+00:00"))
    assert time.time() - submitted.timestamp() >= SHORT_TTL
    outcome = cluster.cms("get", "left-brief", str(tmp_path / "brief"))
    assert outcome.status == 3
    assert outcome.stderr.splitlines()[-1].startswith("ERROR: no job left-brief")
    assert not (tmp_path / "brief").exists()

    def has_gone() -> bool:
        return not any(
            said for _, said in run_on_all(cluster, "cd /var/lib/cloudmesh/results 2>/dev/null && ls | grep brief")
        )

    assert wait_until(has_gone, 150, pause=5), "never: the hosts have removed its results"
    images = "".join(said for _, said in run_on_all(cluster, COLLECT)).split()
    assert "left-brief" not in images, "its image has gone with it"
    assert "left-long" in images
    assert "left-long" in list_jobs(cluster)
    cluster.cms("get", "left-long", str(tmp_path / "long")).ok()
    assert [path.read_text() for path in (tmp_path / "long").rglob("kept")] == ["kept\n"]
