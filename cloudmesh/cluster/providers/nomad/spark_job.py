"""A Spark job as a Nomad job.

It is one batch job with two task groups that find each other by Nomad's service discovery: `head` runs Spark's master
(a sidecar) and the driver, `workers` run Spark's workers, each with one executor. The job ends with its driver: Nomad
ends the sidecar, and the workers end when the master is gone. Executors have the environment of their worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.nomad import job_spec
from cloudmesh.cluster.providers.nomad.job_spec import CORE, PULL_SECONDS
from cloudmesh.cluster.spec.spark import ResourceRequest, SparkJob, spark_requests, submit_arguments

HEAD, WORKERS, DRIVER, MASTER, WORKER = "head", "workers", "driver", "master", "worker"
_MASTER_CPU, DAEMON_MB = 100, 512
# How long a worker waits for the master: its host may have the image already while the master's still fetches it.
_WAIT_SECONDS = PULL_SECONDS + 300


def compute_group_requests(job: SparkJob) -> tuple[ResourceRequest, ResourceRequest]:
    """Return what one allocation of each group needs: a driver with the master, and a worker with its executor."""
    return spark_requests(job, beside_mb=DAEMON_MB)


def spark_job(submission: Submission[SparkJob]) -> dict[str, Any]:
    """Return the Nomad job of a submission."""
    head, workers = compute_group_requests(submission.job)
    return job_spec.build_job(submission, "batch", (_build_head(submission, head), _build_workers(submission, workers)))


def _build_head(submission: Submission[SparkJob], request: ResourceRequest) -> dict[str, Any]:
    return {
        **job_spec.build_group(submission, HEAD, 1, ("master", "webui", "driver", "blocks")),
        "RestartPolicy": job_spec.build_restart_policy(0),
        "Disconnect": job_spec.build_disconnect_policy(submission.job.retries),
        "Services": [{"Name": _build_service_name(submission.id), "PortLabel": "master", "Provider": "nomad"}],
        "Tasks": [_build_master(submission), _build_driver(submission, request)],
    }


def _build_master(submission: Submission[SparkJob]) -> dict[str, Any]:
    master = _build_task(submission, MASTER, _MASTER_CPU, DAEMON_MB)
    master["Env"] |= {"CMS_MASTER_PORT": "${NOMAD_PORT_master}", "CMS_WEBUI_PORT": "${NOMAD_PORT_webui}"}
    return {
        **master,
        "Lifecycle": {"Hook": "prestart", "Sidecar": True},
        "RestartPolicy": job_spec.build_restart_policy(0),
    }


def _build_driver(submission: Submission[SparkJob], request: ResourceRequest) -> dict[str, Any]:
    job = submission.job
    cpu, memory_mb = request.cores * CORE - _MASTER_CPU, request.memory_mb - DAEMON_MB
    driver = _build_task(submission, DRIVER, cpu, memory_mb, submit_arguments(job))
    driver["Env"] |= {
        "CMS_MASTER": "${NOMAD_ADDR_master}",
        "CMS_DRIVER_PORT": "${NOMAD_PORT_driver}",
        "CMS_BLOCKMANAGER_PORT": "${NOMAD_PORT_blocks}",
        "CMS_TIMEOUT_SECONDS": str(job.timeout_seconds),
        **job_spec.escape_env(job.env),
    }
    driver["Templates"] += job_spec.build_secret_templates(submission)
    return {**driver, "RestartPolicy": job_spec.build_restart_policy(job.retries)}


def _build_workers(submission: Submission[SparkJob], request: ResourceRequest) -> dict[str, Any]:
    job = submission.job
    worker = _build_task(submission, WORKER, request.cores * CORE, request.memory_mb)
    worker["Env"] |= {
        "CMS_WORKER_PORT": "${NOMAD_PORT_worker}",
        "CMS_WEBUI_PORT": "${NOMAD_PORT_webui}",
        "CMS_CORES": str(job.executor.cores),
        "CMS_MEMORY_MB": str(job.executor.memory_mb),
        "CMS_MASTER_FILE": "${NOMAD_TASK_DIR}/master",
        "CMS_WAIT_SECONDS": str(_WAIT_SECONDS),
        **job_spec.escape_env(job.env),
    }
    service = _build_service_name(submission.id)
    master_address = f'{{{{ range nomadService "{service}" }}}}{{{{ .Address }}}}:{{{{ .Port }}}}{{{{ end }}}}'
    worker["Templates"] += [
        job_spec.build_template(master_address, "local/master"),
        *job_spec.build_secret_templates(submission),
    ]
    return {
        **job_spec.build_group(submission, WORKERS, request.instances, ("worker", "webui")),
        "RestartPolicy": job_spec.build_restart_policy(2),
        # Not two on one host.
        **({"Constraints": [{"Operand": "distinct_hosts", "RTarget": "true"}]} if submission.hosts else {}),
        "Tasks": [worker],
    }


def _build_task(
    submission: Submission[SparkJob], role: str, cpu: int, memory_mb: int, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    task = job_spec.build_task(submission, role, cpu, memory_mb)
    task["Config"]["args"] = [role, *job_spec.escape_arguments(arguments)]
    return task


def _build_service_name(job_id: str) -> str:
    return f"spark-{job_id}"
