"""A job that is not Spark's as a Nomad job.

Each task group of the job is one of Nomad's; of groups with the same name, each task is a group. Every port of every
task is a service of Nomad's, all under one name, and a template writes them into the file by which the tasks find each
other.

A time limit is a health check of a port on which nothing listens, and which counts only after that time: then Nomad
itself ends the task, whatever image it runs.
"""

from __future__ import annotations

from typing import Any

from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.nomad import job_spec
from cloudmesh.cluster.providers.nomad.job_spec import CORE, SECOND
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.task_groups import ScheduledGroup, TaskLayout, schedule_groups

# The name of the time limit's health check, which is in the event of a task that it has ended.
TIMEOUT = "timeoutSeconds"
HOST = "${node.unique.id}"
# The port of the time limit's health check, on which nothing ever listens.
_CLOCK = "clock"
_PEERS = "peers"
# A task is started again for ever: once in each interval, and then again in the next one.
_ENDLESS = {"Attempts": 1, "Interval": 10 * SECOND, "Delay": 2 * SECOND, "Mode": "delay"}


def job(submission: Submission[JobSpec]) -> dict[str, Any]:
    """Return the Nomad job of a submission."""
    layout = submission.job.layout(submission.hosts)
    groups = [_build_group(submission, layout, group) for group in schedule_groups(layout.groups)]
    nomad_job = job_spec.build_job(submission, "service" if layout.is_service else "batch", groups)
    # Deployments give up after a time. Without them, a service is placed as soon as its host is there.
    return {**nomad_job, "Update": {"MaxParallel": 0}} if layout.is_service else nomad_job


def build_service_name(job_id: str) -> str:
    """Return the name of the services that are the ports of a job; each service has the tag "GROUP INDEX PORT"."""
    return f"cms-{job_id}"


def _build_index(group: ScheduledGroup) -> str:
    """Return a group's task index: a number, or the expression that Nomad replaces by it."""
    return "${NOMAD_ALLOC_INDEX}" if group.alone else str(group.first)


def _build_group(submission: Submission[JobSpec], layout: TaskLayout, group: ScheduledGroup) -> dict[str, Any]:
    task_group = group.task_group
    timeout_seconds = 0 if layout.is_service or not group.is_leader else submission.job.timeout_seconds
    ports = {**task_group.ports, **({_CLOCK: 0} if timeout_seconds else {})}
    nomad_group = job_spec.build_group(submission, group.name, task_group.count, ports)
    nomad_group |= {
        "RestartPolicy": _ENDLESS if layout.is_service else job_spec.build_restart_policy(task_group.retries),
        "Services": [_build_port_service(submission.id, group, port) for port in task_group.ports],
        "Tasks": [_build_task(submission, group, timeout_seconds)],
    }
    if task_group.host:
        nomad_group["Constraints"] = [{"LTarget": HOST, "RTarget": task_group.host, "Operand": "="}]
    elif layout.is_service:
        nomad_group["ReschedulePolicy"] = {"Unlimited": True, "Delay": 10 * SECOND, "DelayFunction": "constant"}
    if group.is_leader and not layout.is_service:
        nomad_group["Disconnect"] = job_spec.build_disconnect_policy(task_group.retries)
    if task_group.count > 1 and not task_group.host:
        nomad_group["Spreads"] = [{"Attribute": HOST, "Weight": 100}]
    return nomad_group


def _build_port_service(job_id: str, group: ScheduledGroup, port: str) -> dict[str, Any]:
    tag = f"{group.task_group.name} {_build_index(group)} {port}"
    return {"Name": build_service_name(job_id), "PortLabel": port, "Provider": "nomad", "Tags": [tag]}


def _build_task(submission: Submission[JobSpec], group: ScheduledGroup, timeout_seconds: int) -> dict[str, Any]:
    task_group = group.task_group
    task = job_spec.build_task(submission, task_group.name, task_group.cores * CORE, task_group.memory_mb)
    for key, words in (("entrypoint", task_group.command), ("args", task_group.arguments)):
        if words:
            task["Config"][key] = job_spec.escape_arguments(words)
    index = _build_index(group)
    line = "{{ index .Tags 0 }} {{ .Address }}:{{ .Port }}\n"
    peers = f'{{{{ range nomadService "{build_service_name(submission.id)}" }}}}{line}{{{{ end }}}}'
    task["Env"] = {
        **job_spec.escape_env({**submission.job.env, **task_group.env}),
        **task["Env"],
        "CMS_JOB_ID": submission.id,
        "CMS_TASK": f"{task_group.name}-{index}",
        "CMS_TASK_INDEX": index,
        "CMS_TASK_COUNT": str(group.total),
        "CMS_PEERS_FILE": f"${{NOMAD_TASK_DIR}}/{_PEERS}",
        **{f"CMS_PORT_{name.upper()}": f"${{NOMAD_PORT_{name}}}" for name in task_group.ports},
    }
    task["Templates"] += [
        job_spec.build_template(peers, f"local/{_PEERS}"),
        *job_spec.build_secret_templates(submission),
    ]
    if timeout_seconds:
        task["Services"] = [_build_time_limit(submission.id, timeout_seconds)]
    return task


def _build_time_limit(job_id: str, seconds: int) -> dict[str, Any]:
    """Return a service whose health check fails as soon as it counts, after so many seconds: the task is ended."""
    check = {
        "Name": TIMEOUT,
        "Type": "tcp",
        "Interval": max(1, min(10, seconds // 30)) * SECOND,
        "Timeout": SECOND,
        "CheckRestart": {"Limit": 1, "Grace": seconds * SECOND},
    }
    return {"Name": f"cms-{_CLOCK}-{job_id}", "PortLabel": _CLOCK, "Provider": "nomad", "Checks": [check]}
