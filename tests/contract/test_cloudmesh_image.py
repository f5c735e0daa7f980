"""`cms` runs within a cluster."""

import json

import pytest

from contract.test_jobs import write

pytestmark = pytest.mark.cluster


def write_job_file(folder, *command: str) -> str:
    """Write a job file that runs a command in the image `cloudmesh`; return its path."""
    spec = {"image": "cloudmesh", "command": list(command), "resources": {"cores": 1, "memory": "256m"}}
    job = {"apiVersion": "cms/v1", "kind": "ContainerJob", "metadata": {"name": "within"}, "spec": spec}
    return write(folder, "job.yaml", json.dumps(job))


def test_the_command_is_there_within_a_task_and_does_not_run_as_root(cluster, tmp_path):
    outcome = cluster.cms("submit", write_job_file(tmp_path, "sh", "-c", "id -u && cms cluster -h")).ok()
    user, *text = outcome.stdout.splitlines()
    assert user == "185"
    assert any(line.strip().startswith("cluster create -n NAME") for line in text)


def test_its_exit_codes_are_the_jobs(cluster, tmp_path):
    outcome = cluster.cms("submit", write_job_file(tmp_path, "cms", "cluster", "info", "-n", "../x"))
    assert outcome.status == 1
    assert outcome.stderr.splitlines()[-1].endswith("exit code 2")
