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
from cloudmesh.cluster.kubernetes.manifests import JOBS_ACCOUNT, JOBS_NAMESPACE
from cloudmesh.cluster.placement import asks

# A core of a job asks for this much of a processor, in thousandths: the rest is the host's and the engine's own, so
# that a host of two cores takes two.
CORE = 800
DRIVER, EXECUTOR = "driver", "executor"
# Labels and annotations.
JOB, ROLE = "cms-job", "cms-role"
DIGEST, NAME, STOPPED = "cloudmesh/digest", "cloudmesh/name", "cloudmesh/stopped"
_SECRETS = "/opt/cloudmesh/secrets"
_DRIVER_PORT, _BLOCKS_PORT = 7078, 7079
_GRACE_SECONDS = 15
_LOST_AFTER = 120
_GONE = ("unreachable", "not-ready")


def secret_name(job_id: str) -> str:
    """Return the name of the secret by which the parts of a job know each other."""
    return f"{job_id}-spark"


def spark_job(submission: Submission[SparkJob]) -> dict[str, Any]:
    """Return the Job of a submission."""
    job = submission.job
    labels = {JOB: submission.id, ROLE: DRIVER}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": submission.id,
            "namespace": JOBS_NAMESPACE,
            "labels": {JOB: submission.id},
            "annotations": {DIGEST: submission.digest, NAME: job.name},
        },
        "spec": {
            "backoffLimit": job.retries,
            "ttlSecondsAfterFinished": job.ttl_seconds,
            "template": {"metadata": {"labels": labels}, "spec": _pod(submission)},
        },
    }


def secret(job_id: str, token: str) -> dict[str, Any]:
    """Return the secret of a job."""
    metadata = {"name": secret_name(job_id), "namespace": JOBS_NAMESPACE, "labels": {JOB: job_id}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "immutable": True,
        "stringData": {"spark": token},
    }


def literal(text: str) -> str:
    """Return `text` so that Kubernetes, which replaces $(NAME) in arguments and variables, gives it back as it is."""
    return text.replace("$", "$$")


def _pod(submission: Submission[SparkJob]) -> dict[str, Any]:
    gone = [{"key": f"node.kubernetes.io/{how}", "operator": "Exists", "effect": "NoExecute"} for how in _GONE]
    return {
        "serviceAccountName": JOBS_ACCOUNT,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsUser": SPARK_UID,
            "runAsGroup": SPARK_UID,
            "runAsNonRoot": True,
            "fsGroup": SPARK_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [{**toleration, "tolerationSeconds": _LOST_AFTER} for toleration in gone],
        "containers": [_driver(submission)],
        "volumes": [{"name": "spark", "secret": {"secretName": secret_name(submission.id), "defaultMode": 0o440}}],
    }


def _driver(submission: Submission[SparkJob]) -> dict[str, Any]:
    job = submission.job
    ask, _ = asks(job)
    memory = f"{ask.memory_mb}Mi"
    env = {
        "CMS_MASTER": "k8s://https://kubernetes.default.svc",
        "CMS_DRIVER_PORT": str(_DRIVER_PORT),
        "CMS_BLOCKMANAGER_PORT": str(_BLOCKS_PORT),
        "CMS_TIMEOUT_SECONDS": str(job.timeout_seconds),
        "CMS_JOB_DIR": JOB_DIR,
        **{name: literal(value) for name, value in job.env.items()},
    }
    return {
        "name": DRIVER,
        "image": submission.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [DRIVER, *_settings(submission), *map(literal, submit_arguments(job))],
        "env": [
            _downward("CMS_ADDRESS", "status.podIP"),
            _downward("CMS_POD", "metadata.name"),
            *({"name": name, "value": value} for name, value in env.items()),
        ],
        "resources": {"requests": {"cpu": f"{ask.cores * CORE}m", "memory": memory}, "limits": {"memory": memory}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "spark", "mountPath": _SECRETS, "readOnly": True}],
    }


def _settings(submission: Submission[SparkJob]) -> list[str]:
    """Return what spark-submit must know of the cluster. The job's own settings come after, and have none of these."""
    _, ask = asks(submission.job)
    executor = "spark.kubernetes.executor"
    conf = {
        "spark.kubernetes.namespace": JOBS_NAMESPACE,
        "spark.kubernetes.driver.pod.name": "$(CMS_POD)",
        "spark.kubernetes.container.image": submission.image,
        "spark.kubernetes.executor.podNamePrefix": "$(CMS_POD)",
        "spark.authenticate.secret.file": f"{_SECRETS}/spark",
        f"{executor}.secrets.{secret_name(submission.id)}": _SECRETS,
        f"{executor}.disableConfigMap": "true",
        f"{executor}.label.{JOB}": submission.id,
        f"{executor}.label.{ROLE}": EXECUTOR,
        f"{executor}.request.cores": f"{ask.cores * CORE}m",
        "spark.executor.memoryOverhead": f"{ask.memory_mb - submission.job.executor.memory_mb}m",
        "spark.executorEnv.CMS_JOB_DIR": JOB_DIR,
    }
    arguments = [f"{key}={value}" for key, value in conf.items()]
    # Kubernetes reads these twice: as arguments of the driver, and as the executors' variables.
    arguments += [f"spark.executorEnv.{name}={literal(literal(value))}" for name, value in submission.job.env.items()]
    return [word for argument in arguments for word in ("--conf", argument)]


def _downward(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
