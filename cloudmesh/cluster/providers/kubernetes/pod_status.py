"""Reads what Kubernetes reports about one pod, and translates it to `TaskStatus` and to reasons for the user.

The pods of our jobs have one container each. Of a native job's pod, the first container is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from datetime import datetime, timezone
from typing import Any

from cloudmesh.cluster.core.model import State, TaskStatus
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.kubernetes.indexed_jobs import FIRST, INDEX
from cloudmesh.cluster.providers.kubernetes.pod_spec import DRIVER, EXECUTOR, JOB, PART, ROLE

# The label that Kubernetes itself gives to the pods of a Job.
NATIVE_JOB = "batch.kubernetes.io/job-name"
# Controllers that replace a pod of theirs that was evicted.
_REPLACING = ("ReplicaSet", "StatefulSet", "ReplicationController")
_NOT_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RegistryUnavailable")
# Any other message means that the registry could not be asked, which may pass.
_IMAGE_MISSING = re.compile(r"not found|manifest unknown|does not exist|InvalidImageName")
# What stands around the cause in messages about images.
_NOISE = re.compile(
    r"Back-off pulling image \S+: \w+: |rpc error: code = \w+ desc = |"
    r"failed to pull and unpack image \S+: |failed to resolve reference \S+: "
)
_INSUFFICIENT = re.compile(r"Insufficient ([a-z]+)")
# What containerd says of a process that was gone when it started: processes outlive containerd, but not their host.
_UNKNOWN_END, _UNKNOWN_CODE = "Unknown", 255
_SILENT = "cloudmesh-silent"  # a field of a pod's status that we add
# The scheduler says this of the rules of `driver_admission.build_scheduling_rules`.
_NOT_ADMITTED = re.compile(r"topology spread constraints|anti-affinity rules")


def task_status(pod: Mapping[str, Any]) -> TaskStatus:
    """Return the status of the task that a pod runs."""
    task_state = state(pod)
    reason = why_failed(pod) if task_state is State.FAILED else why_waiting(pod)
    return TaskStatus(task_name(pod), pod["spec"].get("nodeName", ""), task_state, exit_code(pod), reason)


def task_name(pod: Mapping[str, Any]) -> str:
    """Return the name of a pod's task: "driver", "executor-1", "worker-2"; of a native job, the pod's name."""
    if group := label(pod, PART):
        return f"{group}-{int(annotation(pod, FIRST) or 0) + int(annotation(pod, INDEX) or 0)}"
    role, number = label(pod, ROLE) or pod["metadata"]["name"], label(pod, "spark-exec-id")
    return f"{role}-{number}" if number else role


def state(pod: Mapping[str, Any]) -> State:
    """Return the state of a pod's task."""
    if is_silent(pod):
        return State.UNKNOWN
    if is_running(pod):
        return State.RUNNING
    phase = pod.get("status", {}).get("phase")
    return {"Succeeded": State.SUCCEEDED, "Failed": State.FAILED}.get(phase, State.QUEUED)


def is_running(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process runs, as far as Kubernetes knows."""
    return "running" in _container_state(pod)


def has_started(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process runs or has run, so that there may be output."""
    return is_running(pod) or has_ended(pod) or bool(_previous_end(pod))


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process has ended, so that it writes no more unless it is restarted."""
    return "terminated" in _container_state(pod)


def running_container(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Return the uid of a pod, and the name of its first container."""
    return pod["metadata"]["uid"], first_container(pod)


def mark_silent(pod: MutableMapping[str, Any]) -> None:
    """Note in a pod that is reported as running that its host does not say so, see `host_faults.py`."""
    pod["status"][_SILENT] = True


def is_silent(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is reported as running, but its host does not answer."""
    if pod.get("status", {}).get(_SILENT):
        return True
    is_reported_running = pod.get("status", {}).get("phase") == "Running" and is_running(pod)
    ready = conditions(pod).get("Ready", {})
    # A kubelet says so, and why, of a container that is not ready yet; Kubernetes, of one whose host is lost.
    return is_reported_running and ready.get("status") != "True" and ready.get("reason") != "ContainersNotReady"


def was_cut_off(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process ended because its host was restarted."""
    return _was_cut_off(_container_state(pod).get("terminated", {}))


def is_leading(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's end decides the end of its job; see `status.leading_pods`."""
    kubernetes_job = label(pod, NATIVE_JOB) or label(pod, JOB)
    return label(pod, ROLE) != EXECUTOR and kubernetes_job == job_of(pod)


def is_replaceable(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod that is evicted is soon replaced by another one, without harm to the job."""
    return label(pod, ROLE) == EXECUTOR or _controller_kind(pod) in _REPLACING


def is_daemonset_pod(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod belongs to its node, so that it can neither be moved nor be waited for."""
    return _controller_kind(pod) == "DaemonSet"


def job_of(pod: Mapping[str, Any]) -> str:
    """Return the id of the job that a pod, or another object of a job, belongs to; empty if there is none."""
    return label(pod, JOB) or label(pod, NATIVE_JOB)


def why_waiting(pod: Mapping[str, Any]) -> str:
    """Return why a pod does not run yet, for the user; empty if it runs or no reason is known."""
    scheduled = conditions(pod).get("PodScheduled", {})
    if scheduled.get("reason") == "Unschedulable":
        scheduler_message = scheduled.get("message", "")
        if label(pod, ROLE) == DRIVER and _NOT_ADMITTED.search(scheduler_message):
            return "waits for other Spark jobs to end"
        return outcomes.waits_for_room(_INSUFFICIENT.findall(scheduler_message))
    waiting = _container_state(pod).get("waiting", {})
    message = str(waiting.get("message", ""))
    if waiting.get("reason") in ("ContainerCreating", "PodInitializing", None):
        return ""
    if waiting["reason"] in _NOT_PULLED:
        cause = _NOISE.sub("", message).removeprefix(f"{_image(pod)}: ")
        return outcomes.image_not_pulled(_image(pod), cause.rstrip(": "))
    if previous := _previous_end(pod):
        return f"it is started again: {_why_ended(previous) or 'it ended'}"
    return f"{waiting['reason']}: {message}".rstrip(": ")


def lacks_image(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod waits for an image that does not exist in its registry."""
    waiting = _container_state(pod).get("waiting", {})
    text = f"{waiting.get('reason')} {waiting.get('message')}"
    return waiting.get("reason") in _NOT_PULLED and bool(_IMAGE_MISSING.search(text))


def accepted_at(pod: Mapping[str, Any]) -> float:
    """Return when a host accepted a pod, in seconds since the epoch; 0 if none has."""
    return parse_time(pod.get("status", {}).get("startTime"))


def why_failed(pod: Mapping[str, Any]) -> str:
    """Return why a pod failed, for the user; empty if no reason is known."""
    disruption, host = conditions(pod).get("DisruptionTarget", {}), pod["spec"].get("nodeName")
    if disruption.get("status") == "True" and disruption.get("reason") == "TerminationByKubelet":
        return f"driven out by its host {host}: {disruption.get('message', '')}".rstrip(": ")
    if disruption.get("status") == "True":
        return outcomes.host_lost(host)
    if _has_timed_out(pod):
        return outcomes.explain_exit_code(outcomes.TIMED_OUT)
    terminated = _container_state(pod).get("terminated", {})
    if _was_cut_off(terminated):
        return outcomes.host_restarted(str(host or ""))
    message = str(pod.get("status", {}).get("message", "") or terminated.get("message", ""))
    return _why_ended(terminated) or message


def exit_code(pod: Mapping[str, Any]) -> int | None:
    """Return the exit code of a pod's process; None if it has not ended; 124, as `timeout` has, if it ran too long."""
    terminated = _container_state(pod).get("terminated", {})
    code = terminated.get("exitCode")
    if _has_timed_out(pod):
        return outcomes.TIMED_OUT
    return None if code is None or _was_cut_off(terminated) else int(code)


def started_at(pod: Mapping[str, Any]) -> float:
    """Return when a pod's process started, in seconds since the epoch; 0 if it has not."""
    container = _container_state(pod)
    return parse_time(container.get("running", container.get("terminated", {})).get("startedAt", ""))


def ended_at(pod: Mapping[str, Any]) -> float:
    """Return when a pod's process ended, in seconds since the epoch; 0 if it has not."""
    return parse_time(_container_state(pod).get("terminated", {}).get("finishedAt", ""))


def count_restarts(pod: Mapping[str, Any]) -> int:
    """Return how often a pod's process was restarted in the pod."""
    return int(_container_status(pod).get("restartCount", 0))


def log_folder(pod: Mapping[str, Any]) -> str:
    """Return where its host keeps the output of a pod's process, below /var/log."""
    metadata = pod["metadata"]
    return f"pods/{metadata['namespace']}_{metadata['name']}_{metadata['uid']}/{first_container(pod)}"


def first_container(pod: Mapping[str, Any]) -> str:
    """Return the name of the container of a pod, or of a pod's template, that is read."""
    return str(pod["spec"]["containers"][0]["name"])


def age_key(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Return the key that sorts pods, the oldest first: when a pod was created, and its name."""
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]


def conditions(kubernetes_object: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the conditions of an object by their types."""
    return {condition["type"]: condition for condition in kubernetes_object.get("status", {}).get("conditions", [])}


def annotation(kubernetes_object: Mapping[str, Any], name: str) -> str:
    """Return an annotation of an object; empty if it does not have it."""
    return str(kubernetes_object["metadata"].get("annotations", {}).get(name, ""))


def label(kubernetes_object: Mapping[str, Any], name: str) -> str:
    """Return a label of an object; empty if it does not have it."""
    return str(kubernetes_object["metadata"].get("labels", {}).get(name, ""))


def parse_time(text: str | None) -> float:
    """Return the seconds since the epoch of "2026-11-24T06:00:00Z"; 0 if the text is empty or None."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def format_time(seconds: float) -> str:
    """Return seconds since the epoch as "2026-11-24T06:00:00Z"."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def _why_ended(terminated: Mapping[str, Any]) -> str:
    if _was_cut_off(terminated):
        return outcomes.host_restarted("")
    is_out_of_memory = terminated.get("reason") == "OOMKilled"
    return outcomes.explain_exit_code(terminated.get("exitCode"), out_of_memory=is_out_of_memory)


def _was_cut_off(terminated: Mapping[str, Any]) -> bool:
    """Return whether a process ended because its host was restarted: containerd found it gone when it started."""
    return terminated.get("reason") == _UNKNOWN_END and terminated.get("exitCode") == _UNKNOWN_CODE


def _has_timed_out(pod: Mapping[str, Any]) -> bool:
    return bool(pod.get("status", {}).get("reason") == "DeadlineExceeded")


def _image(pod: Mapping[str, Any]) -> str:
    return next((str(container["image"]) for container in pod["spec"].get("containers", [])), "")


def _container_state(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state of a pod's container: one of "waiting", "running" and "terminated" with its details."""
    container_state: Mapping[str, Any] = _container_status(pod).get("state", {})
    return container_state


def _previous_end(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a pod's process ended before it was restarted; empty if it was not."""
    terminated: Mapping[str, Any] = _container_status(pod).get("lastState", {}).get("terminated", {})
    return terminated


def _container_status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is known of a pod's first container; the kubelet sorts them by name."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == first_container(pod)), {})


def _controller_kind(pod: Mapping[str, Any]) -> str:
    """Return the kind of the object that controls a pod; empty if none does."""
    owners = pod["metadata"].get("ownerReferences", [])
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")
