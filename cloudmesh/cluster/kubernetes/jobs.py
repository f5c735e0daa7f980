"""A Spark job as a Kubernetes Job. Pure.

One pod runs the driver in client mode; it asks the API for its executors, which are owned by it and go with it. A
driver that fails is run again in a new pod, as often as the job says. Source of the keys: batch/v1 and Spark 4.0's
"Running on Kubernetes".
"""

from __future__ import annotations

from typing import Any

from cloudmesh.cluster.api import Submission
from cloudmesh.cluster.jobs.bundle import JOB_DIR, SPARK_UID
from cloudmesh.cluster.jobs.model import SparkJob
from cloudmesh.cluster.jobs.spark import submit_arguments
from cloudmesh.cluster.kubernetes import pods, turns
from cloudmesh.cluster.kubernetes.pods import (
    DRIVER,
    EXECUTOR,
    JOB,
    JOBS_ACCOUNT,
    JOBS_NAMESPACE,
    RESULTS_DIR,
    ROLE,
    SECRETS_DIR,
    literal,
)
from cloudmesh.cluster.placement import asks

_DRIVER_PORT, _BLOCKS_PORT = 7078, 7079
_EXECUTOR = "spark.kubernetes.executor"
_SECRET_FILE = f"{SECRETS_DIR}/{pods.SECRET}"
_APART = "/opt/cloudmesh/apart.yaml"  # in the image


def spark_job(submission: Submission[SparkJob], turn: turns.Turn = turns.ALONE) -> dict[str, Any]:
    """Return the Job of a submission; it does not begin before it is told to, nor before its turn."""
    job = submission.job
    template = {"metadata": {"labels": {JOB: submission.id, ROLE: DRIVER}}, "spec": _pod(submission, turn)}
    kept = {turns.TURN: turns.annotation(turn, *asks(job))}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": pods.job_metadata(submission, **kept),
        "spec": {
            "suspend": True,
            "backoffLimit": job.retries,
            "ttlSecondsAfterFinished": job.ttl_seconds,
            "template": template,
        },
    }


def _pod(submission: Submission[SparkJob], turn: turns.Turn) -> dict[str, Any]:
    security = {
        "runAsUser": SPARK_UID,
        "runAsGroup": SPARK_UID,
        "runAsNonRoot": True,
        "fsGroup": SPARK_UID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return pods.pod(
        _driver(submission),
        serviceAccountName=JOBS_ACCOUNT,
        restartPolicy="Never",
        securityContext=security,
        volumes=pods.volumes(submission, 0o440),
        **turns.rules(turn),
    )


def _driver(submission: Submission[SparkJob]) -> dict[str, Any]:
    job = submission.job
    ask, _ = asks(job)
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
        "args": [DRIVER, *_settings(submission), *map(literal, submit_arguments(job))],
        "env": [
            pods.downward("CMS_ADDRESS", "status.podIP"),
            pods.downward("CMS_POD", "metadata.name"),
            *pods.literals(env),
            *pods.secret_variables(submission),
        ],
        "resources": pods.needs(ask.cores, ask.memory_mb),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": pods.mounts(submission, DRIVER),
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
    arguments += [f"spark.executorEnv.{name}={literal(literal(value))}" for name, value in submission.job.env.items()]
    return [word for argument in arguments for word in ("--conf", argument)]


def _executors(submission: Submission[SparkJob]) -> dict[str, str]:
    _, ask = asks(submission.job)
    variables = pods.variables_name(submission.id)
    return {
        f"{_EXECUTOR}.secrets.{pods.secret_name(submission.id)}": SECRETS_DIR,
        **{f"{_EXECUTOR}.secretKeyRef.{name}": f"{variables}:{name}" for name in sorted(submission.secrets)},
        f"{_EXECUTOR}.disableConfigMap": "true",
        # So that it is known where they have left results: they end by themselves when the driver does.
        f"{_EXECUTOR}.deleteOnTermination": "false",
        f"{_EXECUTOR}.label.{JOB}": submission.id,
        f"{_EXECUTOR}.label.{ROLE}": EXECUTOR,
        f"{_EXECUTOR}.request.cores": f"{ask.cores * pods.CORE}m",
        # One on each host.
        **({f"{_EXECUTOR}.podTemplateFile": _APART} if submission.hosts else {}),
        "spark.executor.memoryOverhead": f"{ask.memory_mb - submission.job.executor.memory_mb}m",
        "spark.executorEnv.CMS_JOB_DIR": JOB_DIR,
        "spark.executorEnv.CMS_RESULTS": RESULTS_DIR,
    }


def _executor_volumes(submission: Submission[SparkJob]) -> dict[str, str]:
    """Return how Spark is told of what `pods.mounts` and `pods.volumes` say of the driver."""
    of = f"{_EXECUTOR}.volumes.persistentVolumeClaim"
    folder = literal(pods.results_path(submission.id, f"{EXECUTOR}-$(SPARK_EXECUTOR_ID)", "$(SPARK_EXECUTOR_POD_NAME)"))
    conf = {
        f"{of}.results.options.claimName": pods.RESULTS_CLAIM,
        f"{of}.results.mount.path": RESULTS_DIR,
        f"{of}.results.mount.subPathExpr": folder,
    }
    for name, each in pods.places(submission).items():
        its = f"{of}.{name}"
        conf[f"{its}.options.claimName"] = pods.claim(each.place)
        conf[f"{its}.mount.path"] = each.mount
        conf[f"{its}.mount.readOnly"] = str(each.read_only).lower()
    return conf
