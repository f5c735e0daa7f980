"""What Nomad jobs of all kinds have in common: groups, Docker tasks, secrets, volumes, and the escaping of words.

Source of the keys: Nomad's JSON job specification, version 1.10.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_bundle import JOB_DIR

# Nomad counts processors in MHz. Hosts claim this many for each core (client.cpu_total_compute), whatever their clock
# rate, so that jobs are placed by cores.
CORE = 1000
# Key of the nodes' metadata; its value is a dollar sign.
DOLLAR = "cms_dollar"
# Keys of a job's "Meta". A job that has DIGEST was made of a job file. LEADERS is "TASK COUNT": the task of the first
# group with whose end the job ends, and how many there are.
DIGEST, NAME, TTL, VOLUMES = "cms_digest", "cms_name", "cms_ttl", "cms_places"
FIRST_GROUP, LEADERS = "cms_first", "cms_leaders"
# Keys of a job's Nomad variable, beside DIGEST: the secret by which the job's tasks know each other, and the prefix of
# the user's own secrets.
TOKEN, VARIABLE_PREFIX = "token", "env_"
# Where results are: below an allocation's directory on its host, and as the allocation's tasks see it.
RESULTS, _RESULTS_IN_TASK = "alloc/data", "${NOMAD_ALLOC_DIR}/data"
# A volume is a host volume on each host, and any number of jobs write to it at once.
ACCESS, ATTACHMENT = "single-node-multi-writer", "file-system"
SECOND = 1_000_000_000
# Label of a task's container: how many bytes of what it prints keep-output.sh keeps.
LOG_LIMIT = "cloudmesh.log_limit"
PULL_SECONDS = 1800  # a gigabyte at 5 Mbit/s
_LOST_AFTER = 120 * SECOND


def build_variable_path(job_id: str) -> str:
    """Return the path of the Nomad variable that holds a job's secrets; of all tasks, only the job's can read it."""
    return f"nomad/jobs/{job_id}"


def build_job(submission: Submission[JobSpec], kind: str, groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a Nomad job.

    Args:
        submission: the job.
        kind: "batch", or "service" for one that is started again whenever it ends.
        groups: of the job. It has ended when the first one has.
    """
    job = submission.job
    first = groups[0]
    leader = next(task["Name"] for task in first["Tasks"] if not task.get("Lifecycle"))
    return {
        "ID": submission.id,
        "Name": submission.id,
        "Type": kind,
        "Datacenters": ["*"],
        "Meta": {
            DIGEST: submission.digest,
            NAME: job.name,
            TTL: str(job.ttl_seconds),
            FIRST_GROUP: first["Name"],
            LEADERS: f"{leader} {first['Count']}",
            VOLUMES: " ".join(job.volumes),
        },
        "TaskGroups": list(groups),
    }


def build_group(
    submission: Submission[JobSpec], name: str, count: int, ports: Mapping[str, int] | Iterable[str]
) -> dict[str, Any]:
    """Return a task group without its tasks. Nomad does not replace an allocation of it that failed.

    Args:
        submission: the job.
        name: of the group.
        count: how many allocations it has.
        ports: names, or names with numbers; a port without a number, or with 0, gets any that is free.
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
        "Volumes": {mount.volume: _build_volume_request(mount.volume, mount.read_only) for mount in submission.volumes},
    }


def build_task(submission: Submission[JobSpec], name: str, cpu: int, memory_mb: int) -> dict[str, Any]:
    """Return a Docker task with what every task of a job has, but without the job's own environment and secrets.

    Args:
        submission: the job.
        name: of the task.
        cpu: in the unit of which a core has `CORE`.
        memory_mb: MiB.
    """
    token = f'{{{{ with nomadVar "{build_variable_path(submission.id)}" }}}}{{{{ .{TOKEN} }}}}{{{{ end }}}}'
    return {
        "Name": name,
        "Driver": "docker",
        "Config": {
            "image": submission.image,
            "image_pull_timeout": f"{PULL_SECONDS}s",
            "network_mode": "host",
            # Process 1 is one that lets signals have their effect on the program, and reaps what it orphans.
            "init": True,
            "labels": [{LOG_LIMIT: str(submission.job.log_limit_mb << 20)}],
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
            {"Volume": mount.volume, "Destination": mount.mount, "ReadOnly": mount.read_only}
            for mount in submission.volumes
        ],
        "KillTimeout": 10 * SECOND,
        # keep-output.sh saves all of it; Nomad's own log would be a second copy, with less in it.
        "LogConfig": {"Disabled": True},
    }


def build_template(text: str, path: str) -> dict[str, Any]:
    """Return a file that Nomad writes for a task, and again when its contents change; the task is not restarted."""
    return {"EmbeddedTmpl": text, "DestPath": path, "ChangeMode": "noop"}


def build_secret_templates(submission: Submission[JobSpec]) -> list[dict[str, Any]]:
    """Return what gives a task the user's secrets as environment variables. No secret is in the Nomad job itself."""
    if not submission.secrets:
        return []
    lines = (f"{name}={{{{ .{VARIABLE_PREFIX}{name}.Value | toJSON }}}}\n" for name in sorted(submission.secrets))
    text = f'{{{{ with nomadVar "{build_variable_path(submission.id)}" }}}}{"".join(lines)}{{{{ end }}}}'
    return [{**build_template(text, "secrets/environment"), "Envvars": True}]


def build_variable_items(submission: Submission[JobSpec], token: str) -> dict[str, str]:
    """Return the contents of the job's Nomad variable."""
    return {
        DIGEST: submission.digest,
        TOKEN: token,
        **{f"{VARIABLE_PREFIX}{name}": value for name, value in submission.secrets.items()},
    }


def escape_arguments(words: Iterable[str]) -> list[str]:
    """Return the words escaped: Nomad reads them as HCL templates, and gives the task the original words.

    Raises:
        UsageError: a word is not in Unicode's composed form, into which Nomad brings every argument.
    """
    words = list(words)
    for word in words:
        if not unicodedata.is_normalized("NFC", word):
            raise UsageError(
                f"argument {ascii(word)[:80]} has characters in Unicode's decomposed form, and Nomad passes arguments "
                "in the composed form (NFC) only: write it so, or give it by spec.env, which is passed as it is"
            )
    return [word.replace("${", "$${").replace("%{", "%%{") for word in words]


def escape_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with each "${" replaced, so that the task gets the original values.

    Nomad interpolates environments, and has no escape for that; so the dollar sign comes from the node's metadata.
    """
    return {name: value.replace("${", f"${{meta.{DOLLAR}}}{{") for name, value in env.items()}


def build_restart_policy(attempts: int) -> dict[str, Any]:
    """Return the policy by which a task that failed is started again on its host, at most `attempts` times a day."""
    return {"Attempts": attempts, "Interval": 86400 * SECOND, "Delay": 2 * SECOND, "Mode": "fail"}


def build_disconnect_policy(retries: int) -> dict[str, Any]:
    """Return the policy for tasks whose host is lost: without retries, they must not run a second time elsewhere."""
    return {"LostAfter": _LOST_AFTER, "Replace": retries > 0}


def _build_volume_request(volume: str, read_only: bool) -> dict[str, Any]:
    return {
        "Name": volume,
        "Type": "host",
        "Source": volume,
        "ReadOnly": read_only,
        "AccessMode": ACCESS,
        "AttachmentMode": ATTACHMENT,
    }
