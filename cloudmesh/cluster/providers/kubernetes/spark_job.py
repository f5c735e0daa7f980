"""Builds the Kubernetes Job of a Spark job.

One pod runs the driver in client mode. The driver creates the pods of its executors through the API; they are owned by
the driver's pod, so that Kubernetes deletes them with it. If the driver fails, Kubernetes starts it again in a new pod,
as often as the job says. Source of the keys: batch/v1, and "Running on Kubernetes" of Spark 4.0.

Kubernetes expands $(NAME) and $$ in the arguments and variables of a pod. Arguments and variables of the driver are
escaped once. Executors get the variables from a Secret, whose values are not expanded: by `spark.executorEnv`, which
PySpark also hands to its workers itself, they would need an escape that is right for one of the two only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.kubernetes import driver_admission, pod_spec
from cloudmesh.cluster.providers.kubernetes.pod_spec import (
    DRIVER,
    EXECUTOR,
    JOB,
    JOBS_ACCOUNT,
    JOBS_NAMESPACE,
    RESULTS_DIR,
    ROLE,
    SECRETS_DIR,
    escape,
)
from cloudmesh.cluster.spec.job_bundle import JOB_DIR, SPARK_UID
from cloudmesh.cluster.spec.spark import SparkJob, spark_requests, submit_arguments

_DRIVER_PORT, _BLOCKS_PORT = 7078, 7079
_EXECUTOR = "spark.kubernetes.executor"
_IN_POD_VARIABLES = tuple(
    f"spark.executor.{name}" for name in ("defaultJavaOptions", "extraJavaOptions", "extraClassPath")
)
_SECRET_FILE = f"{SECRETS_DIR}/{pod_spec.SECRET}"
# Pod templates in the image of Spark, of executors; the second one keeps those of a job on different hosts.
_TEMPLATE, _ONE_PER_HOST_TEMPLATE = "/opt/cloudmesh/executor.yaml", "/opt/cloudmesh/apart.yaml"


def build_spark_job(
    submission: Submission[SparkJob], admission: driver_admission.Admission = driver_admission.ALONE
) -> dict[str, Any]:
    """Return the root Job of a Spark job. It is suspended; once started, its driver waits until it is admitted.

    Args:
        submission: the job.
        admission: when and where its driver may start.
    """
    job = submission.job
    pod_metadata = {"labels": {JOB: submission.id, ROLE: DRIVER}}
    annotations = {driver_admission.ADMISSION: driver_admission.build_annotation(admission, *spark_requests(job))}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": pod_spec.build_job_metadata(submission, **annotations),
        "spec": {
            "suspend": True,
            "backoffLimit": job.retries,
            "ttlSecondsAfterFinished": job.ttl_seconds,
            "template": {"metadata": pod_metadata, "spec": _build_pod(submission, admission)},
        },
    }


def _build_pod(submission: Submission[SparkJob], admission: driver_admission.Admission) -> dict[str, Any]:
    security = {
        "runAsUser": SPARK_UID,
        "runAsGroup": SPARK_UID,
        "runAsNonRoot": True,
        "fsGroup": SPARK_UID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return pod_spec.build_pod_spec(
        _build_container(submission),
        serviceAccountName=JOBS_ACCOUNT,
        restartPolicy="Never",
        securityContext=security,
        volumes=pod_spec.build_volumes(submission, 0o440),
        **driver_admission.build_scheduling_rules(admission),
    )


def _build_container(submission: Submission[SparkJob]) -> dict[str, Any]:
    job = submission.job
    request, _ = spark_requests(job)
    env = {
        "CMS_MASTER": "k8s://https://kubernetes.default.svc",
        "CMS_DRIVER_PORT": str(_DRIVER_PORT),
        "CMS_BLOCKMANAGER_PORT": str(_BLOCKS_PORT),
        "CMS_TIMEOUT_SECONDS": str(job.timeout_seconds),
        "CMS_JOB_DIR": JOB_DIR,
        "CMS_RESULTS": RESULTS_DIR,
        **job.env,
    }
    return {
        "name": DRIVER,
        "image": submission.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [DRIVER, *_build_settings(submission), *map(escape, submit_arguments(_escape_options(job)))],
        "env": [
            pod_spec.build_field_variable("CMS_ADDRESS", "status.podIP"),
            pod_spec.build_field_variable("CMS_POD", "metadata.name"),
            *pod_spec.build_literal_variables(env),
            *pod_spec.build_secret_variables(submission),
        ],
        "resources": pod_spec.build_resources(request.cores, request.memory_mb),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": pod_spec.build_mounts(submission, DRIVER),
    }


def _build_settings(submission: Submission[SparkJob]) -> list[str]:
    """Return the arguments of spark-submit that describe the cluster.

    The settings of the job itself come after them; a job cannot set any of these.
    """
    settings = {
        "spark.kubernetes.namespace": JOBS_NAMESPACE,
        "spark.kubernetes.driver.pod.name": "$(CMS_POD)",
        "spark.kubernetes.container.image": submission.image,
        "spark.kubernetes.executor.podNamePrefix": "$(CMS_POD)",
        "spark.authenticate.secret.file": _SECRET_FILE,
        **_executor_settings(submission),
        **_executor_volume_settings(submission),
    }
    return [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]


def _escape_options(job: SparkJob) -> SparkJob:
    """Return the job with those properties escaped that Spark hands to executors as variables of their pods."""
    conf = {name: escape(value) if name in _IN_POD_VARIABLES else value for name, value in job.spark_conf.items()}
    return replace(job, spark_conf=conf)


def _executor_settings(submission: Submission[SparkJob]) -> dict[str, str]:
    _, request = spark_requests(submission.job)
    variables_secret = pod_spec.variables_secret_name(submission.id)
    variables = {*submission.job.env, *submission.secrets}
    return {
        f"{_EXECUTOR}.secrets.{pod_spec.tasks_secret_name(submission.id)}": SECRETS_DIR,
        **{f"{_EXECUTOR}.secretKeyRef.{name}": f"{variables_secret}:{name}" for name in sorted(variables)},
        f"{_EXECUTOR}.disableConfigMap": "true",
        # Spark keeps the pods, so that we see where they left results. They end by themselves when the driver ends.
        f"{_EXECUTOR}.deleteOnTermination": "false",
        f"{_EXECUTOR}.label.{JOB}": submission.id,
        f"{_EXECUTOR}.label.{ROLE}": EXECUTOR,
        f"{_EXECUTOR}.request.cores": f"{request.cores * pod_spec.CORE}m",
        f"{_EXECUTOR}.podTemplateFile": _ONE_PER_HOST_TEMPLATE if submission.hosts else _TEMPLATE,
        "spark.executor.memoryOverhead": f"{request.memory_mb - submission.job.executor.memory_mb}m",
        "spark.executorEnv.CMS_JOB_DIR": JOB_DIR,
        "spark.executorEnv.CMS_RESULTS": RESULTS_DIR,
    }


def _executor_volume_settings(submission: Submission[SparkJob]) -> dict[str, str]:
    """Return the settings that give executors what `pod_spec.build_mounts` and `build_volumes` give the driver."""
    claims = f"{_EXECUTOR}.volumes.persistentVolumeClaim"
    task = f"{EXECUTOR}-$(SPARK_EXECUTOR_ID)"
    folder = pod_spec.results_path(submission.id, task, "$(SPARK_EXECUTOR_POD_NAME)")
    settings = {
        f"{claims}.results.options.claimName": pod_spec.RESULTS_CLAIM,
        f"{claims}.results.mount.path": RESULTS_DIR,
        # The variables are those of the executors: Kubernetes must not expand them in the arguments of the driver.
        f"{claims}.results.mount.subPathExpr": escape(folder),
    }
    for name, mount in pod_spec.name_mounts(submission).items():
        settings[f"{claims}.{name}.options.claimName"] = pod_spec.claim_name(mount.volume)
        settings[f"{claims}.{name}.mount.path"] = mount.mount
        settings[f"{claims}.{name}.mount.readOnly"] = str(mount.read_only).lower()
    return settings
