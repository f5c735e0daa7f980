"""A Spark job as a Nomad job. Pure.

One batch job with two groups that find each other by native service discovery: `head` has Spark's master (a sidecar)
and the driver, `workers` the executors' hosts. The job ends with its driver: Nomad ends the sidecar, and the workers
end when the master is gone. Executors have the environment of their worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudmesh.cluster.api import Submission
from cloudmesh.cluster.jobs.model import SparkJob
from cloudmesh.cluster.jobs.spark import submit_arguments
from cloudmesh.cluster.nomad import tasks
from cloudmesh.cluster.nomad.tasks import CORE, PULL_SECONDS
from cloudmesh.cluster.placement import Ask
from cloudmesh.cluster.placement import asks as asks_of

HEAD, WORKERS, DRIVER, MASTER, WORKER = "head", "workers", "driver", "master", "worker"
_MASTER_CPU, _DAEMON_MB = 100, 512
_WAIT_SECONDS = PULL_SECONDS + 300  # of workers on a host that has the image, for a master on one that fetches it


def asks(job: SparkJob) -> tuple[Ask, Ask]:
    """Return what the job's two groups need on one host: a driver with its master, a worker with its executor."""
    return asks_of(job, beside_mb=_DAEMON_MB)


def spark_job(submission: Submission[SparkJob]) -> dict[str, Any]:
    """Return the Nomad job of a submission."""
    head, workers = asks(submission.job)
    return tasks.job(submission, "batch", (_head(submission, head), _workers(submission, workers)))


def _head(submission: Submission[SparkJob], ask: Ask) -> dict[str, Any]:
    return {
        **tasks.group(submission, HEAD, 1, ("master", "webui", "driver", "blocks")),
        "RestartPolicy": tasks.restarts(0),
        "Disconnect": tasks.when_lost(submission.job.retries),
        "Services": [{"Name": _service(submission.id), "PortLabel": "master", "Provider": "nomad"}],
        "Tasks": [_master(submission), _driver(submission, ask)],
    }


def _master(submission: Submission[SparkJob]) -> dict[str, Any]:
    master = _task(submission, MASTER, _MASTER_CPU, _DAEMON_MB)
    master["Env"] |= {"CMS_MASTER_PORT": "${NOMAD_PORT_master}", "CMS_WEBUI_PORT": "${NOMAD_PORT_webui}"}
    return {**master, "Lifecycle": {"Hook": "prestart", "Sidecar": True}, "RestartPolicy": tasks.restarts(0)}


def _driver(submission: Submission[SparkJob], ask: Ask) -> dict[str, Any]:
    job = submission.job
    cpu, memory = ask.cores * CORE - _MASTER_CPU, ask.memory_mb - _DAEMON_MB
    driver = _task(submission, DRIVER, cpu, memory, submit_arguments(job))
    driver["Env"] |= {
        "CMS_MASTER": "${NOMAD_ADDR_master}",
        "CMS_DRIVER_PORT": "${NOMAD_PORT_driver}",
        "CMS_BLOCKMANAGER_PORT": "${NOMAD_PORT_blocks}",
        "CMS_TIMEOUT_SECONDS": str(job.timeout_seconds),
        **tasks.literal_env(job.env),
    }
    driver["Templates"] += tasks.own_secrets(submission)
    return {**driver, "RestartPolicy": tasks.restarts(job.retries)}


def _workers(submission: Submission[SparkJob], ask: Ask) -> dict[str, Any]:
    job = submission.job
    worker = _task(submission, WORKER, ask.cores * CORE, ask.memory_mb)
    worker["Env"] |= {
        "CMS_WORKER_PORT": "${NOMAD_PORT_worker}",
        "CMS_WEBUI_PORT": "${NOMAD_PORT_webui}",
        "CMS_CORES": str(job.executor.cores),
        "CMS_MEMORY_MB": str(job.executor.memory_mb),
        "CMS_MASTER_FILE": "${NOMAD_TASK_DIR}/master",
        "CMS_WAIT_SECONDS": str(_WAIT_SECONDS),
        **tasks.literal_env(job.env),
    }
    service = _service(submission.id)
    found = f'{{{{ range nomadService "{service}" }}}}{{{{ .Address }}}}:{{{{ .Port }}}}{{{{ end }}}}'
    worker["Templates"] += [tasks.template(found, "local/master"), *tasks.own_secrets(submission)]
    return {
        **tasks.group(submission, WORKERS, ask.instances, ("worker", "webui")),
        "RestartPolicy": tasks.restarts(2),
        # One on each host.
        **({"Constraints": [{"Operand": "distinct_hosts", "RTarget": "true"}]} if submission.hosts else {}),
        "Tasks": [worker],
    }


def _task(
    submission: Submission[SparkJob], role: str, cpu: int, memory_mb: int, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    task = tasks.task(submission, role, cpu, memory_mb)
    task["Config"]["args"] = [role, *tasks.literal_arguments(arguments)]
    return task


def _service(job_id: str) -> str:
    return f"spark-{job_id}"
