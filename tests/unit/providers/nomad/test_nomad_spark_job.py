"""A Spark job as a Nomad job."""

import json
from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.nomad import job_spec, spark_job
from cloudmesh.cluster.spec.job import Executor, Resources
from cloudmesh.cluster.spec.spark import SparkJob


def submission(**fields) -> Submission:
    job = SparkJob(name="pi", main=Path("/x/pi.py"), **fields)
    return Submission("pi-abc12", job, "10.0.0.1:5443/cms-jobs/pi-abc12:0123", "d" * 64)


def group(job: dict, name: str) -> dict:
    return next(entry for entry in job["TaskGroups"] if entry["Name"] == name)


def task(job: dict, name: str) -> dict:
    return next(entry for group in job["TaskGroups"] for entry in group["Tasks"] if entry["Name"] == name)


def test_the_same_submission_gives_the_same_job():
    assert json.dumps(spark_job.spark_job(submission())) == json.dumps(spark_job.spark_job(submission()))


def test_a_failed_driver_is_not_run_again_unless_asked():
    once, thrice = spark_job.spark_job(submission()), spark_job.spark_job(submission(retries=2))
    assert task(once, "driver")["RestartPolicy"]["Attempts"] == 0
    assert group(once, "head")["ReschedulePolicy"]["Attempts"] == 0
    assert group(once, "head")["Disconnect"]["Replace"] is False
    assert task(thrice, "driver")["RestartPolicy"]["Attempts"] == 2


def test_there_is_a_worker_for_each_executor():
    assert group(spark_job.spark_job(submission(executor=Executor(instances=7))), "workers")["Count"] == 7


def test_tasks_ask_for_more_memory_than_the_heap():
    job = spark_job.spark_job(submission(driver=Resources(1, 2048), executor=Executor(1, 4096, 1)))
    assert task(job, "driver")["Resources"]["MemoryMB"] >= 2048 + 384
    assert task(job, "worker")["Resources"]["MemoryMB"] >= 4096 + 384 + 256


def test_what_is_asked_for_is_what_the_groups_take():
    job = submission(driver=Resources(2, 1024), executor=Executor(3, 1024, 2))
    nomad_job = spark_job.spark_job(job)
    for name, request in zip(("head", "workers"), spark_job.compute_group_requests(job.job), strict=True):
        tasks = group(nomad_job, name)["Tasks"]
        assert sum(task["Resources"]["CPU"] for task in tasks) == request.cores * job_spec.CORE
        assert sum(task["Resources"]["MemoryMB"] for task in tasks) == request.memory_mb


@pytest.mark.parametrize("name", ["master", "driver", "worker"])
def test_no_secret_is_in_the_job_and_every_task_gets_it_as_a_file(name):
    nomad_job = spark_job.spark_job(submission())
    assert 'nomadVar "nomad/jobs/pi-abc12"' in task(nomad_job, name)["Templates"][0]["EmbeddedTmpl"]
    assert task(nomad_job, name)["Env"]["CMS_SECRET_FILE"] == "${NOMAD_SECRETS_DIR}/token"  # noqa: S105  # a path


def test_an_argument_that_nomad_would_write_otherwise_is_refused_and_a_variable_is_passed():
    with pytest.raises(UsageError, match=r"decomposed form.*spec\.env"):
        spark_job.spark_job(submission(arguments=("e\u0301",)))
    assert task(spark_job.spark_job(submission(env={"A": "e\u0301"})), "driver")["Env"]["A"] == "e\u0301"


def test_nomad_gives_the_users_dollars_back_as_they_are():
    nomad_job = spark_job.spark_job(submission(arguments=("${HOME}", "%{x}", "$HOME"), env={"A": "${HOME}"}))
    assert task(nomad_job, "driver")["Config"]["args"][-3:] == ["$${HOME}", "%%{x}", "$HOME"]
    assert task(nomad_job, "worker")["Env"]["A"] == "${meta.cms_dollar}{HOME}"
