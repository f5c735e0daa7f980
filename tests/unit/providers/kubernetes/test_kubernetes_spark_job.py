"""A Spark job as a Kubernetes Job."""

from pathlib import Path

import pytest

from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.kubernetes import cluster_manifests, pod_spec, spark_job
from cloudmesh.cluster.spec.job import Executor, Resources
from cloudmesh.cluster.spec.spark import SparkJob


def submission(**job: object) -> Submission:
    made = SparkJob("pi", main=Path("/home/me/pi.py"), **job)
    return Submission("pi-abc12", made, "10.0.0.1:5443/cms-jobs/pi-abc12:1", "d" * 64)


def driver(made):
    (container,) = made["spec"]["template"]["spec"]["containers"]
    return container


def conf(made):
    words = driver(made)["args"]
    pairs = (words[at + 1] for at, word in enumerate(words) if word == "--conf")
    return dict(pair.split("=", 1) for pair in pairs)


def expanded(text: str) -> str:
    """What Kubernetes makes of a text without variables: its only escape."""
    return text.replace("$$", "$")


@pytest.mark.parametrize("text", ["$(HOME)", "$$(HOME)", "$HOME", "a$", "$", "$$", "${x}"])
def test_an_argument_reaches_the_program_as_it_was_given(text):
    args = driver(spark_job.build_spark_job(submission(arguments=(text,))))["args"]
    assert expanded(args[-1]) == text


def test_a_variable_reaches_driver_and_executors_as_it_was_given():
    made = spark_job.build_spark_job(submission(env={"X": "$(A)$"}))
    env = {each["name"]: each.get("value") for each in driver(made)["env"]}
    assert expanded(env["X"]) == "$(A)$"
    assert expanded(expanded(conf(made)["spark.executorEnv.X"])) == "$(A)$"


def test_a_host_of_two_cores_takes_two():
    job = submission(driver=Resources(1, 1024), executor=Executor(1, 1024, 3))
    made = spark_job.build_spark_job(job)
    assert driver(made)["resources"]["requests"] == {"cpu": "800m", "memory": "1433Mi"}
    assert conf(made)["spark.kubernetes.executor.request.cores"] == "800m"
    assert conf(made)["spark.executor.memoryOverhead"] == "409m"
    assert conf(made)["spark.executor.instances"] == "3"


def test_a_job_is_tried_and_kept_as_long_as_it_says():
    spec = spark_job.build_spark_job(submission(retries=2, ttl_seconds=60))["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (2, 60)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_no_secret_is_in_the_job_and_both_sides_read_the_same_file():
    made = spark_job.build_spark_job(submission())
    assert conf(made)["spark.authenticate.secret.file"] == "/opt/cloudmesh/secrets/secret"
    assert conf(made)["spark.kubernetes.executor.secrets.pi-abc12-tasks"] == "/opt/cloudmesh/secrets"
    volume, _ = made["spec"]["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == pod_spec.build_secrets(submission(), {})[0]["metadata"]["name"]


def test_a_driver_has_no_rights_on_its_host():
    made = spark_job.build_spark_job(submission())
    assert driver(made)["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert made["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_drivers_may_make_pods_in_their_own_namespace_and_read_no_secret():
    found = cluster_manifests.jobs()
    (role,) = [each for each in found if each["kind"] == "Role"]
    assert role["metadata"]["namespace"] == pod_spec.JOBS_NAMESPACE
    assert not any("secrets" in rule["resources"] or "*" in rule["resources"] for rule in role["rules"])
    assert not any(each["kind"].startswith("ClusterRole") for each in found)
