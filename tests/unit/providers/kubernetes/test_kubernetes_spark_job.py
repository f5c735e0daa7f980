"""A Spark job as a Kubernetes Job."""

from pathlib import Path

import pytest

from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.kubernetes import cluster_manifests, pod_spec, spark_job, submit
from cloudmesh.cluster.spec.job import Executor, Resources
from cloudmesh.cluster.spec.spark import SparkJob


def submission(**fields: object) -> Submission:
    job = SparkJob("pi", main=Path("/home/me/pi.py"), **fields)
    return Submission("pi-abc12", job, "10.0.0.1:5443/cms-jobs/pi-abc12:1", "d" * 64)


def driver(kubernetes_job):
    (container,) = kubernetes_job["spec"]["template"]["spec"]["containers"]
    return container


def conf(kubernetes_job):
    words = driver(kubernetes_job)["args"]
    pairs = (words[at + 1] for at, word in enumerate(words) if word == "--conf")
    return dict(pair.split("=", 1) for pair in pairs)


def expanded(text: str) -> str:
    """What Kubernetes makes of a text without variables: its only escape."""
    return text.replace("$$", "$")


@pytest.mark.parametrize("text", ["$(HOME)", "$$(HOME)", "$HOME", "a$", "$", "$$", "${x}"])
def test_an_argument_reaches_the_program_as_it_was_given(text):
    args = driver(spark_job.build_spark_job(submission(arguments=(text,))))["args"]
    assert expanded(args[-1]) == text


def test_a_variable_reaches_the_driver_as_it_was_given():
    kubernetes_job = spark_job.build_spark_job(submission(env={"X": "$(A)$"}))
    env = {variable["name"]: variable.get("value") for variable in driver(kubernetes_job)["env"]}
    assert expanded(env["X"]) == "$(A)$"


@pytest.mark.parametrize("text", ["$(A)$", "$$", "${x}", "%", "'\"", "two\nlines", "ä€😀"])
def test_executors_get_a_variable_from_a_secret_in_which_kubernetes_expands_nothing(text):
    given = submission(env={"X": text})
    settings = conf(spark_job.build_spark_job(given))
    assert not [name for name in settings if name.startswith("spark.executorEnv.X")]
    name, key = settings["spark.kubernetes.executor.secretKeyRef.X"].split(":")
    secrets = {manifest["metadata"]["name"]: manifest for manifest in submit.job_objects(given, "")[1:]}
    assert secrets[name]["stringData"][key] == text


def test_java_options_with_dollars_reach_the_jvm_of_executors_as_they_were_given():
    options = {f"spark.{part}.extraJavaOptions": "-Da=$$ -Db=$(HOME)" for part in ("driver", "executor")}
    settings = conf(spark_job.build_spark_job(submission(spark_conf=options)))
    assert expanded(settings["spark.driver.extraJavaOptions"]) == "-Da=$$ -Db=$(HOME)"
    assert expanded(expanded(settings["spark.executor.extraJavaOptions"])) == "-Da=$$ -Db=$(HOME)"


def test_a_host_of_two_cores_takes_two():
    job = submission(driver=Resources(1, 1024), executor=Executor(1, 1024, 3))
    kubernetes_job = spark_job.build_spark_job(job)
    assert driver(kubernetes_job)["resources"]["requests"] == {"cpu": "800m", "memory": "1433Mi"}
    assert conf(kubernetes_job)["spark.kubernetes.executor.request.cores"] == "800m"
    assert conf(kubernetes_job)["spark.executor.memoryOverhead"] == "409m"
    assert conf(kubernetes_job)["spark.executor.instances"] == "3"


def test_a_job_is_tried_and_kept_as_long_as_it_says():
    spec = spark_job.build_spark_job(submission(retries=2, ttl_seconds=60))["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (2, 60)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_no_secret_is_in_the_job_and_both_sides_read_the_same_file():
    kubernetes_job = spark_job.build_spark_job(submission())
    assert conf(kubernetes_job)["spark.authenticate.secret.file"] == "/opt/cloudmesh/secrets/secret"
    assert conf(kubernetes_job)["spark.kubernetes.executor.secrets.pi-abc12-tasks"] == "/opt/cloudmesh/secrets"
    volume, _ = kubernetes_job["spec"]["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == pod_spec.build_secrets(submission(), {})[0]["metadata"]["name"]


def test_a_driver_has_no_rights_on_its_host():
    kubernetes_job = spark_job.build_spark_job(submission())
    assert driver(kubernetes_job)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert kubernetes_job["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_drivers_may_make_pods_in_their_own_namespace_and_read_no_secret():
    manifests = cluster_manifests.build_jobs_manifests()
    roles = {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == "Role"}
    assert roles["hosts"]["rules"] == [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]}]
    role = roles["spark"]
    assert role["metadata"]["namespace"] == pod_spec.JOBS_NAMESPACE
    assert not any("secrets" in rule["resources"] or "*" in rule["resources"] for rule in role["rules"])
    assert not any(manifest["kind"].startswith("ClusterRole") for manifest in manifests)
