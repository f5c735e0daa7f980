"""A Spark job as a Nomad job. Pure.

One batch job with two groups that find each other by native service discovery: `head` has Spark's master (a sidecar)
and the driver, `workers` the executors' hosts. The job ends with its driver: Nomad ends the sidecar, and the workers
end when the master is gone. Executors have the environment of their worker.
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
_WAIT_SECONDS = PULL_SECONDS + 300  # of workers on a host that has the image, for a master on one that fetches it


def compute_group_requests(job: SparkJob) -> tuple[ResourceRequest, ResourceRequest]:
    """Return what the job's two groups need on one host: a driver with its master, a worker with its executor."""
    return spark_requests(job, beside_mb=DAEMON_MB)


def spark_job(submission: Submission[SparkJob]) -> dict[str, Any]:
    """Return the Nomad job of a submission."""
    head, workers = compute_group_requests(submission.job)
    return job_spec.build_job(submission, "batch", (_head(submission, head), _workers(submission, workers)))


def _head(submission: Submission[SparkJob], ask: ResourceRequest) -> dict[str, Any]:
    return {
        **job_spec.build_group(submission, HEAD, 1, ("master", "webui", "driver", "blocks")),
        "RestartPolicy": job_spec.build_restart_policy(0),
        "Disconnect": job_spec.build_disconnect_policy(submission.job.retries),
        "Services": [{"Name": _service(submission.id), "PortLabel": "master", "Provider": "nomad"}],
        "Tasks": [_master(submission), _driver(submission, ask)],
    }


def _master(submission: Submission[SparkJob]) -> dict[str, Any]:
    master = _task(submission, MASTER, _MASTER_CPU, DAEMON_MB)
    master["Env"] |= {"CMS_MASTER_PORT": "${NOMAD_PORT_master}", "CMS_WEBUI_PORT": "${NOMAD_PORT_webui}"}
    return {
        **master,
        "Lifecycle": {"Hook": "prestart", "Sidecar": True},
        "RestartPolicy": job_spec.build_restart_policy(0),
    }


def _driver(submission: Submission[SparkJob], ask: ResourceRequest) -> dict[str, Any]:
    job = submission.job
    cpu, memory = ask.cores * CORE - _MASTER_CPU, ask.memory_mb - DAEMON_MB
    driver = _task(submission, DRIVER, cpu, memory, submit_arguments(job))
    driver["Env"] |= {
        "CMS_MASTER": "${NOMAD_ADDR_master}",
        "CMS_DRIVER_PORT": "${NOMAD_PORT_driver}",
        "CMS_BLOCKMANAGER_PORT": "${NOMAD_PORT_blocks}",
        "CMS_TIMEOUT_SECONDS": str(job.timeout_seconds),
        **job_spec.escape_env(job.env),
    }
    driver["Templates"] += job_spec.build_secret_templates(submission)
    return {**driver, "RestartPolicy": job_spec.build_restart_policy(job.retries)}


def _workers(submission: Submission[SparkJob], ask: ResourceRequest) -> dict[str, Any]:
    job = submission.job
    worker = _task(submission, WORKER, ask.cores * CORE, ask.memory_mb)
    worker["Env"] |= {
        "CMS_WORKER_PORT": "${NOMAD_PORT_worker}",
        "CMS_WEBUI_PORT": "${NOMAD_PORT_webui}",
        "CMS_CORES": str(job.executor.cores),
        "CMS_MEMORY_MB": str(job.executor.memory_mb),
        "CMS_MASTER_FILE": "${NOMAD_TASK_DIR}/master",
        "CMS_WAIT_SECONDS": str(_WAIT_SECONDS),
        **job_spec.escape_env(job.env),
    }
    service = _service(submission.id)
    found = f'{{{{ range nomadService "{service}" }}}}{{{{ .Address }}}}:{{{{ .Port }}}}{{{{ end }}}}'
    worker["Templates"] += [
        job_spec.build_template(found, "local/master"),
        *job_spec.build_secret_templates(submission),
    ]
    return {
        **job_spec.build_group(submission, WORKERS, ask.instances, ("worker", "webui")),
        "RestartPolicy": job_spec.build_restart_policy(2),
        # One on each host.
        **({"Constraints": [{"Operand": "distinct_hosts", "RTarget": "true"}]} if submission.hosts else {}),
        "Tasks": [worker],
    }


def _task(
    submission: Submission[SparkJob], role: str, cpu: int, memory_mb: int, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    task = job_spec.build_task(submission, role, cpu, memory_mb)
    task["Config"]["args"] = [role, *job_spec.escape_arguments(arguments)]
    return task


def _service(job_id: str) -> str:
    return f"spark-{job_id}"
