"""A job that is not Spark's as Kubernetes objects. Pure.

Each part is an Indexed Job, whose pods have names that other pods resolve by a Service without an address. The first
part's Job has the name of the job, stands for it, and owns all else. A part that stays has a container that is always
started again, whatever its exit code, and stays on its host however long that one is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cloudmesh.cluster.images.catalog import IMAGES
from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.kubernetes import pod_spec
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOB, JOBS_NAMESPACE, PART
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_bundle import JOB_DIR
from cloudmesh.cluster.spec.task_groups import ScheduledGroup, TaskGroup, TaskLayout, schedule_groups

INDEX = "batch.kubernetes.io/job-completion-index"
# Annotation of a part's pods: the number of its first task.
FIRST = "cloudmesh/first"
_DOMAIN = f"{JOBS_NAMESPACE}.svc.cluster.local"
_FIRST_PORT = 7100
_ENDLESS = (1 << 31) - 1
# The others end by themselves when the first part has; this is for those that do not.
_LATER_SECONDS = 60
# What programs that begin as root do at their start; of what Kubernetes gives by default, neither devices nor networks.
_USUAL = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")


def build_objects(submission: Submission[JobSpec], token: str) -> list[dict[str, Any]]:
    """Return all that a job consists of, its own Job first; that one does not begin before it is told to.

    Args:
        submission: the job.
        token: a secret that its tasks share.
    """
    shape = submission.job.layout(submission.hosts)
    these = schedule_groups(shape.parts)
    first, *others = (_job(submission, shape, group) for group in these)
    first["metadata"] = pod_spec.build_job_metadata(submission)
    first["metadata"]["labels"][PART] = these[0].part.name
    first["spec"] |= {"suspend": True, "ttlSecondsAfterFinished": submission.job.ttl_seconds}
    secrets = pod_spec.build_secrets(
        submission, {pod_spec.SECRET: token, pod_spec.PEERS: "".join(_peers(submission.id, these))}
    )
    return [first, *secrets, _service(submission.id), *others]


def assign_ports(part: TaskGroup) -> dict[str, int]:
    """Return the numbers of a part's ports: each task has an address of its own, so that any is free."""
    return {name: port or _FIRST_PORT + at for at, (name, port) in enumerate(part.ports.items())}


def port_variable(name: str) -> str:
    """Return the environment variable that holds the number of the port called `name`."""
    return f"CMS_PORT_{name.upper()}"


def hostname(job_id: str, job: str, index: int) -> str:
    """Return by what name a pod of a Job is reached."""
    return f"{job}-{index}.{job_id}.{_DOMAIN}"


def _peers(job_id: str, these: Iterable[ScheduledGroup]) -> Iterator[str]:
    for group in these:
        for index in range(group.part.count):
            for name, port in assign_ports(group.part).items():
                host = hostname(job_id, _name(job_id, group), index)
                yield f"{group.part.name} {group.first + index} {name} {host}:{port}\n"


def _name(job_id: str, group: ScheduledGroup) -> str:
    """Return the name of a group's Job; the first one stands for the whole."""
    return job_id if group.leads else f"{job_id}-{group.name}"


def _service(job_id: str) -> dict[str, Any]:
    # Tasks find each other before they are all well, and while one of them is not.
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {JOB: job_id}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": pod_spec.build_metadata(job_id), "spec": spec}


def _job(submission: Submission[JobSpec], shape: TaskLayout, group: ScheduledGroup) -> dict[str, Any]:
    part = group.part
    metadata = {"labels": {JOB: submission.id, PART: part.name}, "annotations": {FIRST: str(group.first)}}
    tried = {"backoffLimit": _ENDLESS} if shape.stays else {"backoffLimitPerIndex": part.retries, "maxFailedIndexes": 0}
    its = pod_spec.build_metadata(submission.id, _name(submission.id, group))
    its["labels"][PART] = part.name
    spec = {
        "completionMode": "Indexed",
        "completions": part.count,
        "parallelism": part.count,
        **tried,
        "template": {"metadata": metadata, "spec": _pod(submission, shape, group)},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": its, "spec": spec}


def _pod(submission: Submission[JobSpec], shape: TaskLayout, group: ScheduledGroup) -> dict[str, Any]:
    own = {"runAsNonRoot": True} if submission.job.image in IMAGES else {}
    fields: dict[str, Any] = {
        "subdomain": submission.id,
        "automountServiceAccountToken": False,
        "restartPolicy": "OnFailure" if shape.stays else "Never",
        "securityContext": {**own, "seccompProfile": {"type": "RuntimeDefault"}},
        # Whoever the image's user is; nobody else is in the pod.
        "volumes": pod_spec.build_volumes(submission, 0o444),
    }
    if group.part.host:
        fields["affinity"] = _bound(group.part.host)
    elif group.part.count > 1:
        fields["topologySpreadConstraints"] = [_spread(submission.id, group.part.name)]
    if shape.stays:
        fields["tolerations"] = pod_spec.build_tolerations(None)
    if submission.job.timeout_seconds:
        later = 0 if group.leads else _LATER_SECONDS
        fields["activeDeadlineSeconds"] = submission.job.timeout_seconds + later
    return pod_spec.build_pod_spec(_container(submission, shape, group), **fields)


def _bound(host: str) -> dict[str, Any]:
    here = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [host]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [here]}}}


def _spread(job_id: str, part: str) -> dict[str, Any]:
    """Return the wish that each host gets as many of a part's tasks as any other, where there is room."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {JOB: job_id, PART: part}},
    }


def _container(submission: Submission[JobSpec], shape: TaskLayout, group: ScheduledGroup) -> dict[str, Any]:
    part = group.part
    capabilities: dict[str, Any] = {"drop": ["ALL"]}
    if submission.job.image not in IMAGES:
        capabilities["add"] = list(_USUAL)
    found = {
        "name": part.name,
        "image": submission.image,
        "imagePullPolicy": "IfNotPresent",
        "env": _environment(submission, group),
        "resources": pod_spec.build_resources(part.cores, part.memory_mb),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": capabilities},
        "volumeMounts": pod_spec.build_mounts(submission, "$(CMS_TASK)"),
    }
    for key, words in (("command", part.command), ("args", part.arguments)):
        if words:
            found[key] = [pod_spec.escape(word) for word in words]
    return {**found, "restartPolicy": "Always"} if shape.stays else found


def _environment(submission: Submission[JobSpec], group: ScheduledGroup) -> list[dict[str, Any]]:
    part = group.part
    fixed = {
        "CMS_JOB_ID": submission.id,
        "CMS_TASK_COUNT": str(group.total),
        "CMS_PEERS_FILE": f"{pod_spec.SECRETS_DIR}/{pod_spec.PEERS}",
        "CMS_SECRET_FILE": f"{pod_spec.SECRETS_DIR}/{pod_spec.SECRET}",
        "CMS_RESULTS": pod_spec.RESULTS_DIR,
        "CMS_JOB_DIR": JOB_DIR,
        **{port_variable(name): str(port) for name, port in assign_ports(part).items()},
    }
    number = pod_spec.build_field_variable("CMS_TASK_INDEX", f"metadata.annotations['{INDEX}']")
    if part.count == 1:
        number = {"name": "CMS_TASK_INDEX", "value": str(group.first)}
    return [
        pod_spec.build_field_variable("CMS_ADDRESS", "status.podIP"),
        pod_spec.build_field_variable("CMS_POD", "metadata.name"),
        number,
        *pod_spec.build_variables({"CMS_TASK": f"{part.name}-$(CMS_TASK_INDEX)"}),
        *pod_spec.build_literal_variables({**submission.job.env, **part.env, **fixed}),
        *pod_spec.build_secret_variables(submission),
    ]
