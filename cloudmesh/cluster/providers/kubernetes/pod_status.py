"""What Kubernetes says of one pod, in the words that both engines share. Pure.

A pod of ours has one container.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloudmesh.cluster.core.model import State, TaskStatus
from cloudmesh.cluster.providers.kubernetes.indexed_jobs import FIRST, INDEX
from cloudmesh.cluster.providers.kubernetes.pod_spec import DRIVER, EXECUTOR, JOB, PART, ROLE
from cloudmesh.cluster.providers.outcomes import TIMED_OUT, explain_exit_code

# How Kubernetes itself labels the pods of a Job.
NATIVE_JOB = "batch.kubernetes.io/job-name"
# What makes a pod again, elsewhere.
_REPLACING = ("ReplicaSet", "StatefulSet", "ReplicationController")
_UNPULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RegistryUnavailable")
# Else the registry could not be asked, which may pass.
_MISSING = re.compile(r"not found|manifest unknown|does not exist|InvalidImageName")
_NOISE = re.compile(
    r"Back-off pulling image \S+: \w+: |rpc error: code = \w+ desc = |"
    r"failed to pull and unpack image \S+: |failed to resolve reference \S+: "
)
_LACKS = re.compile(r"Insufficient ([a-z]+)")
_TURN = re.compile(r"topology spread constraints|anti-affinity rules")  # see turns.py


def task_status(pod: Mapping[str, Any]) -> TaskStatus:
    """Return a pod as a task."""
    its = state(pod)
    reason = why_failed(pod) if its is State.FAILED else why_waiting(pod)
    return TaskStatus(task_name(pod), pod["spec"].get("nodeName", ""), its, exit_code(pod), reason)


def task_name(pod: Mapping[str, Any]) -> str:
    """Return the name of a pod's task: "driver", "executor-1", "worker-2"; of a native job's, the pod's."""
    if part := label(pod, PART):
        return f"{part}-{int(annotation(pod, FIRST) or 0) + int(annotation(pod, INDEX) or 0)}"
    role, number = label(pod, ROLE) or pod["metadata"]["name"], label(pod, "spark-exec-id")
    return f"{role}-{number}" if number else role


def state(pod: Mapping[str, Any]) -> State:
    """Return what a pod does."""
    if is_running(pod):
        return State.RUNNING
    phase = pod.get("status", {}).get("phase")
    return {"Succeeded": State.SUCCEEDED, "Failed": State.FAILED}.get(phase, State.QUEUED)


def is_running(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process runs, as far as is known."""
    return "running" in _container(pod)


def has_started(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process has run, so that there may be output of it."""
    return is_running(pod) or has_ended(pod) or bool(_before(pod))


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process has run and will write no more, unless it is started again."""
    return "terminated" in _container(pod)


def is_silent(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod that is said to run is on a host that does not answer."""
    going = pod.get("status", {}).get("phase") == "Running" and is_running(pod)
    return going and conditions(pod).get("Ready", {}).get("status") != "True"


def is_leading(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is of those whose end is the end of the job, and whose output is the job's."""
    its_own = label(pod, NATIVE_JOB) or label(pod, JOB)
    return label(pod, ROLE) != EXECUTOR and its_own == job_of(pod)


def is_replaceable(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod that is evicted is soon replaced by another, and the job no worse for it."""
    return label(pod, ROLE) == EXECUTOR or _owner(pod) in _REPLACING


def is_daemonset_pod(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod belongs to its host, and is no work that could be moved or waited for."""
    return _owner(pod) == "DaemonSet"


def job_of(pod: Mapping[str, Any]) -> str:
    """Return the id of a pod's job."""
    return label(pod, JOB) or label(pod, NATIVE_JOB)


def why_waiting(pod: Mapping[str, Any]) -> str:
    """Return why a pod does not run yet, in words; empty where it does, or where there is nothing to say."""
    placed = conditions(pod).get("PodScheduled", {})
    if placed.get("reason") == "Unschedulable":
        why_not = placed.get("message", "")
        if label(pod, ROLE) == DRIVER and _TURN.search(why_not):
            return "waits for other Spark jobs to end"
        lacks = sorted(set(_LACKS.findall(why_not)))
        return f"waits for room: {', '.join(lacks) or 'no host is eligible'}"
    waiting = _container(pod).get("waiting", {})
    said = str(waiting.get("message", ""))
    if waiting.get("reason") in ("ContainerCreating", "PodInitializing", None):
        return ""
    if waiting["reason"] in _UNPULLED:
        cause = _NOISE.sub("", said).removeprefix(f"{_image(pod)}: ")
        return f"image {_image(pod)} could not be pulled: {cause}".rstrip(": ")
    if before := _before(pod):
        return f"it is started again: {_why_ended(before) or 'it ended'}"
    return f"{waiting['reason']}: {said}".rstrip(": ")


def lacks_image(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod waits for an image that its registry does not have."""
    waiting = _container(pod).get("waiting", {})
    said = f"{waiting.get('reason')} {waiting.get('message')}"
    return waiting.get("reason") in _UNPULLED and bool(_MISSING.search(said))


def accepted_at(pod: Mapping[str, Any]) -> float:
    """Return when a host took a pod, in seconds since the epoch; 0 where none has."""
    return parse_time(pod.get("status", {}).get("startTime"))


def why_failed(pod: Mapping[str, Any]) -> str:
    """Return why a pod failed, in words."""
    lost, host = conditions(pod).get("DisruptionTarget", {}), pod["spec"].get("nodeName")
    if lost.get("status") == "True" and lost.get("reason") == "TerminationByKubelet":
        return f"driven out by its host {host}: {lost.get('message', '')}".rstrip(": ")
    if lost.get("status") == "True":
        return f"its host {host} was lost"
    if _timed_out(pod):
        return explain_exit_code(TIMED_OUT)
    terminated = _container(pod).get("terminated", {})
    said = str(pod.get("status", {}).get("message", "") or terminated.get("message", ""))
    return _why_ended(terminated) or said


def exit_code(pod: Mapping[str, Any]) -> int | None:
    """Return with what a pod's process has ended; of one that ran too long, what `timeout` says."""
    code = _container(pod).get("terminated", {}).get("exitCode")
    if _timed_out(pod):
        return TIMED_OUT
    return None if code is None else int(code)


def started_at(pod: Mapping[str, Any]) -> float:
    """Return when a pod's process began, in seconds since the epoch; 0 where it has not."""
    container = _container(pod)
    return parse_time(container.get("running", container.get("terminated", {})).get("startedAt", ""))


def ended_at(pod: Mapping[str, Any]) -> float:
    """Return when a pod's process ended, in seconds since the epoch; 0 where it has not."""
    return parse_time(_container(pod).get("terminated", {}).get("finishedAt", ""))


def age_key(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Return what pods are put in order by, the oldest first."""
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]


def conditions(full: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return an object's conditions by their kinds."""
    return {each["type"]: each for each in full.get("status", {}).get("conditions", [])}


def annotation(full: Mapping[str, Any], name: str) -> str:
    """Return an annotation of an object; empty where there is none."""
    return str(full["metadata"].get("annotations", {}).get(name, ""))


def label(full: Mapping[str, Any], name: str) -> str:
    """Return a label of an object; empty where there is none."""
    return str(full["metadata"].get("labels", {}).get(name, ""))


def parse_time(text: str | None) -> float:
    """Return seconds since the epoch of "2026-11-24T06:00:00Z"; 0 for none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def _why_ended(terminated: Mapping[str, Any]) -> str:
    return explain_exit_code(terminated.get("exitCode"), out_of_memory=terminated.get("reason") == "OOMKilled")


def _timed_out(pod: Mapping[str, Any]) -> bool:
    return bool(pod.get("status", {}).get("reason") == "DeadlineExceeded")


def _image(pod: Mapping[str, Any]) -> str:
    return next((str(each["image"]) for each in pod["spec"].get("containers", [])), "")


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state of a pod's only container."""
    found: Mapping[str, Any] = _container_status(pod).get("state", {})
    return found


def _before(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a pod's process ended when it ran before."""
    found: Mapping[str, Any] = _container_status(pod).get("lastState", {}).get("terminated", {})
    return found


def _container_status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(pod.get("status", {}).get("containerStatuses", [])), {})


def _owner(pod: Mapping[str, Any]) -> str:
    """Return the kind of what looks after a pod."""
    owners = pod["metadata"].get("ownerReferences", [])
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")
