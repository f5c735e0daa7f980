"""A Spark job as a Kubernetes Job. Pure.

One pod runs the driver in client mode; it asks the API for its executors, which are owned by it and go with it. A
driver that fails is run again in a new pod, as often as the job says. Source of the keys: batch/v1 and Spark 4.0's
"Running on Kubernetes".
"""

from __future__ import annotations

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
_SECRET_FILE = f"{SECRETS_DIR}/{pod_spec.SECRET}"
_APART = "/opt/cloudmesh/apart.yaml"  # in the image


def build_spark_job(
    submission: Submission[SparkJob], turn: driver_admission.Admission = driver_admission.ALONE
) -> dict[str, Any]:
    """Return the Job of a submission; it does not begin before it is told to, nor before its turn."""
    job = submission.job
    template = {"metadata": {"labels": {JOB: submission.id, ROLE: DRIVER}}, "spec": _pod(submission, turn)}
    kept = {driver_admission.ADMISSION: driver_admission.build_annotation(turn, *spark_requests(job))}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": pod_spec.build_job_metadata(submission, **kept),
        "spec": {
            "suspend": True,
            "backoffLimit": job.retries,
            "ttlSecondsAfterFinished": job.ttl_seconds,
            "template": template,
        },
    }


def _pod(submission: Submission[SparkJob], turn: driver_admission.Admission) -> dict[str, Any]:
    security = {
        "runAsUser": SPARK_UID,
        "runAsGroup": SPARK_UID,
        "runAsNonRoot": True,
        "fsGroup": SPARK_UID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return pod_spec.build_pod_spec(
        _driver(submission),
        serviceAccountName=JOBS_ACCOUNT,
        restartPolicy="Never",
        securityContext=security,
        volumes=pod_spec.build_volumes(submission, 0o440),
        **driver_admission.build_scheduling_rules(turn),
    )


def _driver(submission: Submission[SparkJob]) -> dict[str, Any]:
    job = submission.job
    ask, _ = spark_requests(job)
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
        "args": [DRIVER, *_settings(submission), *map(escape, submit_arguments(job))],
        "env": [
            pod_spec.build_field_variable("CMS_ADDRESS", "status.podIP"),
            pod_spec.build_field_variable("CMS_POD", "metadata.name"),
            *pod_spec.build_literal_variables(env),
            *pod_spec.build_secret_variables(submission),
        ],
        "resources": pod_spec.build_resources(ask.cores, ask.memory_mb),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": pod_spec.build_mounts(submission, DRIVER),
    }


def _settings(submission: Submission[SparkJob]) -> list[str]:
    """Return what spark-submit must know of the cluster. The job's own settings come after, and have none of these."""
    conf = {
        "spark.kubernetes.namespace": JOBS_NAMESPACE,
        "spark.kubernetes.driver.pod.name": "$(CMS_POD)",
        "spark.kubernetes.container.image": submission.image,
        "spark.kubernetes.executor.podNamePrefix": "$(CMS_POD)",
        "spark.authenticate.secret.file": _SECRET_FILE,
        **_executors(submission),
        **_executor_volumes(submission),
    }
    arguments = [f"{key}={value}" for key, value in conf.items()]
    # Kubernetes reads these twice: as arguments of the driver, and as the executors' variables.
    arguments += [f"spark.executorEnv.{name}={escape(escape(value))}" for name, value in submission.job.env.items()]
    return [word for argument in arguments for word in ("--conf", argument)]


def _executors(submission: Submission[SparkJob]) -> dict[str, str]:
    _, ask = spark_requests(submission.job)
    variables = pod_spec.variables_secret_name(submission.id)
    return {
        f"{_EXECUTOR}.secrets.{pod_spec.tasks_secret_name(submission.id)}": SECRETS_DIR,
        **{f"{_EXECUTOR}.secretKeyRef.{name}": f"{variables}:{name}" for name in sorted(submission.secrets)},
        f"{_EXECUTOR}.disableConfigMap": "true",
        # So that it is known where they have left results: they end by themselves when the driver does.
        f"{_EXECUTOR}.deleteOnTermination": "false",
        f"{_EXECUTOR}.label.{JOB}": submission.id,
        f"{_EXECUTOR}.label.{ROLE}": EXECUTOR,
        f"{_EXECUTOR}.request.cores": f"{ask.cores * pod_spec.CORE}m",
        # One on each host.
        **({f"{_EXECUTOR}.podTemplateFile": _APART} if submission.hosts else {}),
        "spark.executor.memoryOverhead": f"{ask.memory_mb - submission.job.executor.memory_mb}m",
        "spark.executorEnv.CMS_JOB_DIR": JOB_DIR,
        "spark.executorEnv.CMS_RESULTS": RESULTS_DIR,
    }


def _executor_volumes(submission: Submission[SparkJob]) -> dict[str, str]:
    """Return how Spark is told of what `pods.mounts` and `pods.volumes` say of the driver."""
    of = f"{_EXECUTOR}.volumes.persistentVolumeClaim"
    folder = escape(
        pod_spec.results_path(submission.id, f"{EXECUTOR}-$(SPARK_EXECUTOR_ID)", "$(SPARK_EXECUTOR_POD_NAME)")
    )
    conf = {
        f"{of}.results.options.claimName": pod_spec.RESULTS_CLAIM,
        f"{of}.results.mount.path": RESULTS_DIR,
        f"{of}.results.mount.subPathExpr": folder,
    }
    for name, each in pod_spec.name_mounts(submission).items():
        its = f"{of}.{name}"
        conf[f"{its}.options.claimName"] = pod_spec.claim_name(each.place)
        conf[f"{its}.mount.path"] = each.mount
        conf[f"{its}.mount.readOnly"] = str(each.read_only).lower()
    return conf
