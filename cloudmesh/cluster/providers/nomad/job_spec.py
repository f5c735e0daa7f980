"""What Nomad jobs of all kinds have in common: groups, Docker tasks, secrets, volumes, and words as they are. Pure.

Source of the keys: Nomad's JSON job specification, version 1.10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudmesh.cluster.providers.base import Mount, Submission
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_bundle import JOB_DIR

# Hosts say that each of their cores is this much (client.cpu_total_compute): jobs are placed by cores, not clock rates.
CORE = 1000
# Node metadata: a dollar sign.
DOLLAR = "cms_dollar"
DIGEST, NAME, TTL, FIRST, VOLUMES = "cms_digest", "cms_name", "cms_ttl", "cms_first", "cms_places"
# In a job's variable: what its tasks know each other by, and before the names of the user's own secrets.
TOKEN, VARIABLE_PREFIX = "token", "env_"
# Below an allocation's directory on its host, and as its tasks see it.
RESULTS, _RESULTS_IN_TASK = "alloc/data", "${NOMAD_ALLOC_DIR}/data"
# A place is one volume on each host, and any number of jobs write to it at once.
ACCESS, ATTACHMENT = "single-node-multi-writer", "file-system"
SECOND = 1_000_000_000
PULL_SECONDS = 1800  # a gigabyte at 5 Mbit/s
_LOST_AFTER = 120 * SECOND


def build_variable_path(job_id: str) -> str:
    """Return the path of the Nomad variable that only the tasks of this job can read."""
    return f"nomad/jobs/{job_id}"


def build_job(submission: Submission[JobSpec], kind: str, groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the Nomad job; the first group is the one whose end is the job's."""
    its = submission.job
    return {
        "ID": submission.id,
        "Name": submission.id,
        "Type": kind,
        "Datacenters": ["*"],
        "Meta": {
            DIGEST: submission.digest,
            NAME: its.name,
            TTL: str(its.ttl_seconds),
            FIRST: groups[0]["Name"],
            VOLUMES: " ".join(its.volumes),
        },
        "TaskGroups": list(groups),
    }


def build_group(
    submission: Submission[JobSpec], name: str, count: int, ports: Mapping[str, int] | Iterable[str]
) -> dict[str, Any]:
    """Return a group without its tasks, whose failed ones are not replaced.

    Args:
        submission: the job.
        name: of the group.
        count: how many.
        ports: their names; with numbers, those that are not 0 are the ports' own.
    """
    numbers = ports if isinstance(ports, Mapping) else dict.fromkeys(ports, 0)
    network = {
        "Mode": "host",
        "DynamicPorts": [{"Label": name} for name, number in numbers.items() if not number],
        "ReservedPorts": [{"Label": name, "Value": number} for name, number in numbers.items() if number],
    }
    return {
        "Name": name,
        "Count": count,
        "Networks": [network],
        "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
        "EphemeralDisk": {"SizeMB": 300},
        "Volumes": {each.place: _build_volume_request(each) for each in submission.volumes},
    }


def build_task(submission: Submission[JobSpec], name: str, cpu: int, memory_mb: int) -> dict[str, Any]:
    """Return a task with what every task of a job finds, but without the job's own environment and secrets."""
    token = f'{{{{ with nomadVar "{build_variable_path(submission.id)}" }}}}{{{{ .{TOKEN} }}}}{{{{ end }}}}'
    return {
        "Name": name,
        "Driver": "docker",
        "Config": {
            "image": submission.image,
            "image_pull_timeout": f"{PULL_SECONDS}s",
            "network_mode": "host",
        },
        "Env": {
            "CMS_ADDRESS": "${attr.unique.network.ip-address}",
            "CMS_SECRET_FILE": f"${{NOMAD_SECRETS_DIR}}/{TOKEN}",
            "CMS_JOB_DIR": JOB_DIR,
            "CMS_RESULTS": _RESULTS_IN_TASK,
        },
        "Resources": {"CPU": cpu, "MemoryMB": memory_mb},
        "Templates": [build_template(token, f"secrets/{TOKEN}")],
        "VolumeMounts": [
            {"Volume": each.place, "Destination": each.mount, "ReadOnly": each.read_only} for each in submission.volumes
        ],
        "KillTimeout": 10 * SECOND,
        "LogConfig": {"MaxFiles": 10, "MaxFileSizeMB": 10},
    }


def build_template(text: str, path: str) -> dict[str, Any]:
    """Return a file that Nomad writes, and writes anew when what it is made of changes; the task is left alone."""
    return {"EmbeddedTmpl": text, "DestPath": path, "ChangeMode": "noop"}


def build_secret_templates(submission: Submission[JobSpec]) -> list[dict[str, Any]]:
    """Return what gives a task the job's own secrets as environment variables; none of them stands in the job."""
    if not submission.secrets:
        return []
    lines = (f"{name}={{{{ .{VARIABLE_PREFIX}{name}.Value | toJSON }}}}\n" for name in sorted(submission.secrets))
    text = f'{{{{ with nomadVar "{build_variable_path(submission.id)}" }}}}{"".join(lines)}{{{{ end }}}}'
    return [{**build_template(text, "secrets/environment"), "Envvars": True}]


def build_variable_items(submission: Submission[JobSpec], token: str) -> dict[str, str]:
    """Return what the job's variable holds."""
    return {TOKEN: token, **{f"{VARIABLE_PREFIX}{name}": value for name, value in submission.secrets.items()}}


def escape_arguments(words: Iterable[str]) -> list[str]:
    """Return words so that Nomad, which reads them as HCL templates, gives them back as they are."""
    return [word.replace("${", "$${").replace("%{", "%%{") for word in words]


def escape_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment so that Nomad, which interpolates it and knows no escape, gives it back as it is."""
    return {name: value.replace("${", f"${{meta.{DOLLAR}}}{{") for name, value in env.items()}


def build_restart_policy(attempts: int) -> dict[str, Any]:
    """Return how often a task that failed is started again."""
    return {"Attempts": attempts, "Interval": 86400 * SECOND, "Delay": 2 * SECOND, "Mode": "fail"}


def build_disconnect_policy(retries: int) -> dict[str, Any]:
    """Return what becomes of a task whose host is lost: unless it was asked for, it must not run a second time."""
    return {"LostAfter": _LOST_AFTER, "Replace": retries > 0}


def _build_volume_request(volume: Mount) -> dict[str, Any]:
    return {
        "Name": volume.place,
        "Type": "host",
        "Source": volume.place,
        "ReadOnly": volume.read_only,
        "AccessMode": ACCESS,
        "AttachmentMode": ATTACHMENT,
    }
