"""A Spark job as a Nomad job. Pure.

One batch job with two groups that find each other by native service discovery: `head` has Spark's master (a sidecar)
and the driver, `workers` the executors' hosts. The job ends with its driver: Nomad ends the sidecar, and the workers
end when the master is gone. Source of the keys: Nomad's JSON job specification, version 1.10.
"""

from __future__ import annotations

from typing import Any

from cloudmesh.cluster.api import Submission
from cloudmesh.cluster.jobs.bundle import JOB_DIR
from cloudmesh.cluster.jobs.model import SparkJob
from cloudmesh.cluster.jobs.spark import submit_arguments
from cloudmesh.cluster.placement import Ask
from cloudmesh.cluster.placement import asks as asks_of

# Hosts say that each of their cores is this much (client.cpu_total_compute): jobs are placed by cores, not clock rates.
CORE = 1000
HEAD, WORKERS, DRIVER, MASTER, WORKER = "head", "workers", "driver", "master", "worker"
# Node metadata: a dollar sign.
DOLLAR = "cms_dollar"
DIGEST, NAME, TTL = "cms_digest", "cms_name", "cms_ttl"
_SECOND = 1_000_000_000
_MASTER_CPU, _DAEMON_MB = 100, 512
_LOST_AFTER = 120 * _SECOND
_PULL_SECONDS = 1800  # a gigabyte at 5 Mbit/s
_WAIT_SECONDS = _PULL_SECONDS + 300  # of workers on a host that has the image, for a master on one that fetches it


def asks(job: SparkJob) -> tuple[Ask, Ask]:
    """Return what the job's two groups need on one host: a driver with its master, a worker with its executor."""
    return asks_of(job, beside_mb=_DAEMON_MB)


def variable_path(job_id: str) -> str:
    """Return the path of the Nomad variable that only the tasks of this job can read."""
    return f"nomad/jobs/{job_id}"


def spark_job(submission: Submission[SparkJob]) -> dict[str, Any]:
    """Return the Nomad job of a submission."""
    job = submission.job
    head, workers = asks(job)
    return {
        "ID": submission.id,
        "Name": submission.id,
        "Type": "batch",
        "Datacenters": ["*"],
        "Meta": {DIGEST: submission.digest, NAME: job.name, TTL: str(job.ttl_seconds)},
        "TaskGroups": [_head(submission, head), _workers(submission, workers)],
    }


def _head(submission: Submission[SparkJob], ask: Ask) -> dict[str, Any]:
    job = submission.job
    driver = {
        **_task(
            submission, DRIVER, ask.cores * CORE - _MASTER_CPU, ask.memory_mb - _DAEMON_MB, _literal_arguments(job)
        ),
        "RestartPolicy": _restarts(job.retries),
    }
    driver["Env"] |= {
        "CMS_MASTER": "${NOMAD_ADDR_master}",
        "CMS_DRIVER_PORT": "${NOMAD_PORT_driver}",
        "CMS_BLOCKMANAGER_PORT": "${NOMAD_PORT_blocks}",
        "CMS_TIMEOUT_SECONDS": str(job.timeout_seconds),
        **_literal_env(job),
    }
    master = {
        **_task(submission, MASTER, _MASTER_CPU, _DAEMON_MB),
        "Lifecycle": {"Hook": "prestart", "Sidecar": True},
        "RestartPolicy": _restarts(0),
    }
    master["Env"] |= {"CMS_MASTER_PORT": "${NOMAD_PORT_master}", "CMS_WEBUI_PORT": "${NOMAD_PORT_webui}"}
    return {
        **_group(HEAD, 1, ("master", "webui", "driver", "blocks")),
        "RestartPolicy": _restarts(0),
        # Unless it was asked for, a driver that was lost with its host must not run a second time.
        "Disconnect": {"LostAfter": _LOST_AFTER, "Replace": job.retries > 0},
        "Services": [{"Name": _service(submission.id), "PortLabel": "master", "Provider": "nomad"}],
        "Tasks": [master, driver],
    }


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
        **_literal_env(job),
    }
    service = _service(submission.id)
    worker["Templates"].append(
        {
            "EmbeddedTmpl": f'{{{{ range nomadService "{service}" }}}}{{{{ .Address }}}}:{{{{ .Port }}}}{{{{ end }}}}',
            "DestPath": "local/master",
            "ChangeMode": "noop",
        }
    )
    return {
        **_group(WORKERS, ask.instances, ("worker", "webui")),
        "RestartPolicy": _restarts(2),
        "Tasks": [worker],
    }


def _group(name: str, count: int, ports: tuple[str, ...]) -> dict[str, Any]:
    return {
        "Name": name,
        "Count": count,
        "Networks": [{"Mode": "host", "DynamicPorts": [{"Label": port} for port in ports]}],
        "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
        "EphemeralDisk": {"SizeMB": 300},
    }


def _task(
    submission: Submission[SparkJob], role: str, cpu: int, memory_mb: int, arguments: list[str] | None = None
) -> dict[str, Any]:
    path = variable_path(submission.id)
    return {
        "Name": role,
        "Driver": "docker",
        "Config": {
            "image": submission.image,
            "image_pull_timeout": f"{_PULL_SECONDS}s",
            "network_mode": "host",
            "args": [role, *(arguments or [])],
        },
        "Env": {
            "CMS_ADDRESS": "${attr.unique.network.ip-address}",
            "CMS_SECRET_FILE": "${NOMAD_SECRETS_DIR}/spark",
            "CMS_JOB_DIR": JOB_DIR,
        },
        "Resources": {"CPU": cpu, "MemoryMB": memory_mb},
        "Templates": [
            {
                "EmbeddedTmpl": f'{{{{ with nomadVar "{path}" }}}}{{{{ .spark }}}}{{{{ end }}}}',
                "DestPath": "secrets/spark",
                "ChangeMode": "noop",
            }
        ],
        "KillTimeout": 10 * _SECOND,
        "LogConfig": {"MaxFiles": 10, "MaxFileSizeMB": 10},
    }


def _literal_arguments(job: SparkJob) -> list[str]:
    """Return spark-submit's arguments so that Nomad, which reads them as HCL templates, gives them back as they are."""
    return [argument.replace("${", "$${").replace("%{", "%%{") for argument in submit_arguments(job)]


def _literal_env(job: SparkJob) -> dict[str, str]:
    """Return the job's environment so that Nomad, which interpolates it and knows no escape, gives it back as it is."""
    return {name: value.replace("${", f"${{meta.{DOLLAR}}}{{") for name, value in job.env.items()}


def _restarts(attempts: int) -> dict[str, Any]:
    return {"Attempts": attempts, "Interval": 86400 * _SECOND, "Delay": 2 * _SECOND, "Mode": "fail"}


def _service(job_id: str) -> str:
    return f"spark-{job_id}"
