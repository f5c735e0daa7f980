"""A job that is not Spark's as a Nomad job. Pure.

Each part is a group; parts of the same name are one group for each task. Their ports are native services, all by one
name, and a template writes them into the file by which the tasks find each other. A time limit is a health check that
nobody ever answers, and that counts only after that time: then Nomad ends the task, whatever its image, and without us.
"""

from __future__ import annotations

from typing import Any

from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.nomad import job_spec
from cloudmesh.cluster.providers.nomad.job_spec import CORE, SECOND
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.task_groups import ScheduledGroup, TaskLayout, schedule_groups

TIMEOUT = "timeoutSeconds"
HOST = "${node.unique.id}"
_CLOCK = "clock"  # a port on which nothing ever listens
_PEERS = "peers"
# Started again for ever: after every one of these, at once.
_ENDLESS = {"Attempts": 1, "Interval": 10 * SECOND, "Delay": 2 * SECOND, "Mode": "delay"}


def job(submission: Submission[JobSpec]) -> dict[str, Any]:
    """Return the Nomad job of a submission."""
    shape = submission.job.layout(submission.hosts)
    these = [_group(submission, shape, each) for each in schedule_groups(shape.parts)]
    made = job_spec.build_job(submission, "service" if shape.stays else "batch", these)
    # Without deployments, which give up after a time, a service is placed whenever its host is there.
    return {**made, "Update": {"MaxParallel": 0}} if shape.stays else made


def build_service_name(job_id: str) -> str:
    """Return the name of the services that are the ports of a job; each has the tag "PART INDEX PORT"."""
    return f"cms-{job_id}"


def _index(group: ScheduledGroup) -> str:
    """Return what Nomad makes the number of a task of."""
    return "${NOMAD_ALLOC_INDEX}" if group.alone else str(group.first)


def _group(submission: Submission[JobSpec], shape: TaskLayout, group: ScheduledGroup) -> dict[str, Any]:
    part = group.part
    limit = 0 if shape.stays or not group.leads else submission.job.timeout_seconds
    made = job_spec.build_group(submission, group.name, part.count, {**part.ports, **({_CLOCK: 0} if limit else {})})
    made |= {
        "RestartPolicy": _ENDLESS if shape.stays else job_spec.build_restart_policy(part.retries),
        "Services": [_port_service(submission.id, group, port) for port in part.ports],
        "Tasks": [_task(submission, group, limit)],
    }
    if part.host:
        made["Constraints"] = [{"LTarget": HOST, "RTarget": part.host, "Operand": "="}]
    elif shape.stays:
        made["ReschedulePolicy"] = {"Unlimited": True, "Delay": 10 * SECOND, "DelayFunction": "constant"}
    if group.leads and not shape.stays:
        made["Disconnect"] = job_spec.build_disconnect_policy(part.retries)
    if part.count > 1 and not part.host:
        made["Spreads"] = [{"Attribute": HOST, "Weight": 100}]
    return made


def _port_service(job_id: str, group: ScheduledGroup, port: str) -> dict[str, Any]:
    tag = f"{group.part.name} {_index(group)} {port}"
    return {"Name": build_service_name(job_id), "PortLabel": port, "Provider": "nomad", "Tags": [tag]}


def _task(submission: Submission[JobSpec], group: ScheduledGroup, limit: int) -> dict[str, Any]:
    part = group.part
    task = job_spec.build_task(submission, part.name, part.cores * CORE, part.memory_mb)
    for key, words in (("entrypoint", part.command), ("args", part.arguments)):
        if words:
            task["Config"][key] = job_spec.escape_arguments(words)
    line = "{{ index .Tags 0 }} {{ .Address }}:{{ .Port }}\n"
    peers = f'{{{{ range nomadService "{build_service_name(submission.id)}" }}}}{line}{{{{ end }}}}'
    task["Env"] = {
        **job_spec.escape_env({**submission.job.env, **part.env}),
        **task["Env"],
        "CMS_JOB_ID": submission.id,
        "CMS_TASK": f"{part.name}-{_index(group)}",
        "CMS_TASK_INDEX": _index(group),
        "CMS_TASK_COUNT": str(group.total),
        "CMS_PEERS_FILE": f"${{NOMAD_TASK_DIR}}/{_PEERS}",
        **{f"CMS_PORT_{name.upper()}": f"${{NOMAD_PORT_{name}}}" for name in part.ports},
    }
    task["Templates"] += [
        job_spec.build_template(peers, f"local/{_PEERS}"),
        *job_spec.build_secret_templates(submission),
    ]
    return {**task, "Services": [_time_limit(submission.id, limit)]} if limit else task


def _time_limit(job_id: str, seconds: int) -> dict[str, Any]:
    check = {
        "Name": TIMEOUT,
        "Type": "tcp",
        "Interval": max(1, min(10, seconds // 30)) * SECOND,
        "Timeout": SECOND,
        "CheckRestart": {"Limit": 1, "Grace": seconds * SECOND},
    }
    return {"Name": f"cms-{_CLOCK}-{job_id}", "PortLabel": _CLOCK, "Provider": "nomad", "Checks": [check]}
