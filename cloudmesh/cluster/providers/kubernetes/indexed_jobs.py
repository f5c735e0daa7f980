"""Builds the Kubernetes objects of a job that is not a Spark job.

Each task group is an Indexed Job: Kubernetes numbers its pods, and a headless Service (one without an address) gives
each pod a name that the other pods can resolve. The Job of the first group is the root Job: it has the name of the job
and owns all other objects.

In a job that stays (a service), each container is restarted whenever it ends, whatever its exit code, and each pod
stays on its host, however long that host does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cloudmesh.cluster.images.catalog import IMAGES
from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.kubernetes import pod_spec
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOB, JOBS_NAMESPACE, PART
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_bundle import JOB_DIR
from cloudmesh.cluster.spec.task_groups import ScheduledGroup, TaskGroup, TaskLayout, schedule_groups

# Annotation that Kubernetes itself gives to the pods of an Indexed Job: the number of the pod in the Job.
INDEX = "batch.kubernetes.io/job-completion-index"
# Annotation of the pods of a Job: the number that the first task of the Job has in its task group.
FIRST = "cloudmesh/first"
_DOMAIN = f"{JOBS_NAMESPACE}.svc.cluster.local"
_FIRST_PORT = 7100
_UNLIMITED = (1 << 31) - 1
# When the first group has timed out, the other groups are ended with it. Their own limit is for when that fails.
_EXTRA_SECONDS = 60
# The capabilities that programs need which start as root and then change their user. The capabilities for devices and
# networks, which containers have by default, are not among them.
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")


def build_objects(submission: Submission[JobSpec], token: str) -> list[dict[str, Any]]:
    """Return all objects of a job: its root Job, which is suspended, its Secrets, its Service and its other Jobs.

    Args:
        submission: the job.
        token: the secret that its tasks share.
    """
    layout = submission.job.layout(submission.hosts)
    groups = schedule_groups(layout.groups)
    root, *additional = (_build_job(submission, layout, group) for group in groups)
    root["metadata"] = pod_spec.build_job_metadata(submission)
    root["metadata"]["labels"][PART] = groups[0].task_group.name
    root["spec"] |= {"suspend": True, "ttlSecondsAfterFinished": submission.job.ttl_seconds}
    contents = {pod_spec.SECRET: token, pod_spec.PEERS: "".join(_peer_lines(submission.id, groups))}
    return [root, *pod_spec.build_secrets(submission, contents), _build_service(submission.id), *additional]


def assign_ports(task_group: TaskGroup) -> dict[str, int]:
    """Return the numbers of a task group's ports by their names.

    Each task has an address of its own, so that any number is free for a port without a fixed one.
    """
    return {name: number or _FIRST_PORT + at for at, (name, number) in enumerate(task_group.ports.items())}


def port_variable(name: str) -> str:
    """Return the environment variable that holds the number of the port called `name`."""
    return f"CMS_PORT_{name.upper()}"


def hostname(job_id: str, kubernetes_job: str, index: int) -> str:
    """Return the host name by which other pods reach the pod with this index in a Job."""
    return f"{kubernetes_job}-{index}.{job_id}.{_DOMAIN}"


def _peer_lines(job_id: str, groups: Iterable[ScheduledGroup]) -> Iterator[str]:
    """Yield the lines of the file CMS_PEERS_FILE; see `spec/task_groups.py` for its format."""
    for group in groups:
        for index in range(group.task_group.count):
            for name, port in assign_ports(group.task_group).items():
                host = hostname(job_id, _job_name(job_id, group), index)
                yield f"{group.task_group.name} {group.first + index} {name} {host}:{port}\n"


def _job_name(job_id: str, group: ScheduledGroup) -> str:
    """Return the name of a group's Job; the Job of the first group is the root Job."""
    return job_id if group.is_leader else f"{job_id}-{group.name}"


def _build_service(job_id: str) -> dict[str, Any]:
    # Tasks must be able to find each other before all of them are ready, and while one of them is not.
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {JOB: job_id}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": pod_spec.build_metadata(job_id), "spec": spec}


def _build_job(submission: Submission[JobSpec], layout: TaskLayout, group: ScheduledGroup) -> dict[str, Any]:
    task_group = group.task_group
    pod_metadata = {"labels": {JOB: submission.id, PART: task_group.name}, "annotations": {FIRST: str(group.first)}}
    if layout.is_service:
        retries: dict[str, Any] = {"backoffLimit": _UNLIMITED}
    else:
        retries = {"backoffLimitPerIndex": task_group.retries, "maxFailedIndexes": 0}
    metadata = pod_spec.build_metadata(submission.id, _job_name(submission.id, group))
    metadata["labels"][PART] = task_group.name
    spec = {
        "completionMode": "Indexed",
        "completions": task_group.count,
        "parallelism": task_group.count,
        **retries,
        "template": {"metadata": pod_metadata, "spec": _build_pod(submission, layout, group)},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _build_pod(submission: Submission[JobSpec], layout: TaskLayout, group: ScheduledGroup) -> dict[str, Any]:
    # Images of ours name a user that is not root; images of others may need root.
    non_root = {"runAsNonRoot": True} if submission.job.image in IMAGES else {}
    fields: dict[str, Any] = {
        "subdomain": submission.id,
        "automountServiceAccountToken": False,
        "restartPolicy": "OnFailure" if layout.is_service else "Never",
        "securityContext": {**non_root, "seccompProfile": {"type": "RuntimeDefault"}},
        # The user of the image is not known, so that all users may read the secrets; nobody else is in the pod.
        "volumes": pod_spec.build_volumes(submission, 0o444),
    }
    if group.task_group.host:
        fields["affinity"] = _bind_to_host(group.task_group.host)
    elif group.task_group.count > 1:
        fields["topologySpreadConstraints"] = [_spread(submission.id, group.task_group.name)]
    if layout.is_service:
        fields["tolerations"] = pod_spec.build_tolerations(None)
    if submission.job.timeout_seconds:
        extra = 0 if group.is_leader else _EXTRA_SECONDS
        fields["activeDeadlineSeconds"] = submission.job.timeout_seconds + extra
    return pod_spec.build_pod_spec(_build_container(submission, layout, group), **fields)


def _bind_to_host(host: str) -> dict[str, Any]:
    """Return the affinity of a pod that runs on this node only."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [host]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def is_bound_service(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is a task of a service, which stays on its host and has data there."""
    is_service = any(container.get("restartPolicy") == "Always" for container in pod["spec"]["containers"])
    return is_service and "nodeAffinity" in pod["spec"].get("affinity", {})


def _spread(job_id: str, group_name: str) -> dict[str, Any]:
    """Return the constraint that the tasks of a group are spread evenly over the nodes, as far as there is room."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {JOB: job_id, PART: group_name}},
    }


def _build_container(submission: Submission[JobSpec], layout: TaskLayout, group: ScheduledGroup) -> dict[str, Any]:
    task_group = group.task_group
    capabilities: dict[str, Any] = {"drop": ["ALL"]}
    if submission.job.image not in IMAGES:
        capabilities["add"] = list(_CAPABILITIES)
    container = {
        "name": task_group.name,
        "image": submission.image,
        "imagePullPolicy": "IfNotPresent",
        "env": _build_environment(submission, group),
        "resources": pod_spec.build_resources(task_group.cores, task_group.memory_mb),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": capabilities},
        "volumeMounts": pod_spec.build_mounts(submission, "$(CMS_TASK)"),
    }
    for key, words in (("command", task_group.command), ("args", task_group.arguments)):
        if words:
            container[key] = [pod_spec.escape(word) for word in words]
    return {**container, "restartPolicy": "Always"} if layout.is_service else container


def _build_environment(submission: Submission[JobSpec], group: ScheduledGroup) -> list[dict[str, Any]]:
    """Return the environment of a task; see `spec/task_groups.py` for the variables."""
    task_group = group.task_group
    fixed = {
        "CMS_JOB_ID": submission.id,
        "CMS_TASK_COUNT": str(group.total),
        "CMS_PEERS_FILE": f"{pod_spec.SECRETS_DIR}/{pod_spec.PEERS}",
        "CMS_SECRET_FILE": f"{pod_spec.SECRETS_DIR}/{pod_spec.SECRET}",
        "CMS_RESULTS": pod_spec.RESULTS_DIR,
        "CMS_JOB_DIR": JOB_DIR,
        **{port_variable(name): str(port) for name, port in assign_ports(task_group).items()},
    }
    if task_group.count == 1:
        index = {"name": "CMS_TASK_INDEX", "value": str(group.first)}
    else:
        index = pod_spec.build_field_variable("CMS_TASK_INDEX", f"metadata.annotations['{INDEX}']")
    return [
        pod_spec.build_field_variable("CMS_ADDRESS", "status.podIP"),
        pod_spec.build_field_variable("CMS_POD", "metadata.name"),
        index,
        *pod_spec.build_variables({"CMS_TASK": f"{task_group.name}-$(CMS_TASK_INDEX)"}),
        *pod_spec.build_literal_variables({**submission.job.env, **task_group.env, **fixed}),
        *pod_spec.build_secret_variables(submission),
    ]
