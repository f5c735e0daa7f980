"""What Kubernetes says of jobs, in the words that both engines share. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from cloudmesh.cluster.kubernetes.jobs import DIGEST, EXECUTOR, JOB, NAME, ROLE, STOPPED
from cloudmesh.cluster.model import JobStatus, State, TaskStatus
from cloudmesh.cluster.placement import why

# How Kubernetes itself labels the pods of a Job.
NATIVE_JOB = "batch.kubernetes.io/job-name"
# What makes a pod again, elsewhere.
_REPLACING = ("ReplicaSet", "StatefulSet", "ReplicationController")
_Outcome = tuple[State, "int | None", str]

_LACKS = re.compile(r"Insufficient ([a-z]+)")


def job(full: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], now: float) -> JobStatus:
    """Return a job as Kubernetes tells it.

    Args:
        full: the Job.
        pods: of the job, drivers and executors.
        now: seconds since the epoch.
    """
    ordered = sorted(pods, key=_age)
    newest: Mapping[str, Any] = next(reversed(drivers(ordered)), {})
    state, exit_code, reason = _ended(full, newest) or _going(newest, ordered)
    annotations = _annotations(full)
    return JobStatus(
        id=full["metadata"]["name"],
        name=annotations.get(NAME, full["metadata"]["name"]),
        state=state,
        submitted=_time(full["metadata"]["creationTimestamp"]),
        duration=_duration(newest, now),
        exit_code=exit_code,
        reason=reason,
        digest=annotations.get(DIGEST, ""),
        tasks=tuple(_tasks(ordered)),
    )


def drivers(pods: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the drivers that a job has had, or a native job's pods, the newest last."""
    return sorted((pod for pod in pods if _label(pod, ROLE) != EXECUTOR), key=_age)


def moves(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod that is evicted is soon replaced by another."""
    return _label(pod, ROLE) == EXECUTOR or _owner(pod) in _REPLACING


def stays(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod belongs to its host, and is no work that could be moved or waited for."""
    return _owner(pod) == "DaemonSet"


def has_started(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process has run, so that there may be output of it."""
    return "running" in _container(pod) or "terminated" in _container(pod)


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's process has run and will write no more."""
    return "terminated" in _container(pod)


def job_of(pod: Mapping[str, Any]) -> str:
    """Return the id of a pod's job."""
    return _label(pod, JOB) or _label(pod, NATIVE_JOB)


def _ended(full: Mapping[str, Any], driver: Mapping[str, Any]) -> _Outcome | None:
    """Return how the job ended, or that it is stopped; None where neither."""
    conditions = {
        each["type"]: each for each in full.get("status", {}).get("conditions", []) if each["status"] == "True"
    }
    if "Complete" in conditions:
        return State.SUCCEEDED, 0, ""
    failed = conditions.get("Failed")
    stopped = STOPPED in _annotations(full)
    if failed and not (stopped and failed.get("reason") == "DeadlineExceeded"):
        return State.FAILED, _exit_code(driver), _why(driver) or str(failed.get("message", ""))
    return (State.STOPPED, None, "stopped on request") if stopped else None


def _going(driver: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> _Outcome:
    """Return what a job does that has not ended."""
    if has_ended(driver):  # and Kubernetes has not said yet what follows from it
        return State.RUNNING, None, ""
    if "running" not in _container(driver):
        return State.QUEUED, None, _why_waiting(driver)
    if _conditions(driver).get("Ready", {}).get("status") != "True":
        return State.UNKNOWN, None, f"its host {driver['spec'].get('nodeName')} does not answer"
    return State.RUNNING, None, next(filter(None, map(_why_waiting, pods)), "")


def _why_waiting(pod: Mapping[str, Any]) -> str:
    """Return why a pod does not run yet, in words; empty where it does, or where there is nothing to say."""
    placed = _conditions(pod).get("PodScheduled", {})
    if placed.get("reason") == "Unschedulable":
        lacks = sorted(set(_LACKS.findall(placed.get("message", ""))))
        return f"waits for room: {', '.join(lacks) or 'no host is eligible'}"
    waiting = _container(pod).get("waiting", {})
    if waiting.get("reason") in ("ContainerCreating", "PodInitializing", None):
        return ""
    return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")


def _why(pod: Mapping[str, Any]) -> str:
    """Return why a pod failed, in words."""
    ended = _container(pod).get("terminated", {})
    lost = _conditions(pod).get("DisruptionTarget", {})
    if lost.get("status") == "True":
        return f"its host {pod['spec'].get('nodeName')} was lost"
    said = str(pod.get("status", {}).get("message", "") or ended.get("message", ""))
    return why(ended.get("exitCode"), out_of_memory=ended.get("reason") == "OOMKilled") or said


def _exit_code(pod: Mapping[str, Any]) -> int | None:
    code = _container(pod).get("terminated", {}).get("exitCode")
    return None if code is None else int(code)


def _tasks(pods: Iterable[Mapping[str, Any]]) -> Iterable[TaskStatus]:
    for pod in pods:
        role, number = _label(pod, ROLE) or pod["metadata"]["name"], _label(pod, "spark-exec-id")
        state, code = _task_state(pod), _exit_code(pod)
        reason = _why(pod) if state is State.FAILED else _why_waiting(pod)
        yield TaskStatus(f"{role}-{number}" if number else role, pod["spec"].get("nodeName", ""), state, code, reason)


def _task_state(pod: Mapping[str, Any]) -> State:
    if "running" in _container(pod):
        return State.RUNNING
    phase = pod.get("status", {}).get("phase")
    return {"Succeeded": State.SUCCEEDED, "Failed": State.FAILED}.get(phase, State.QUEUED)


def _duration(pod: Mapping[str, Any], now: float) -> float:
    container = _container(pod)
    ended = container.get("terminated", {})
    started = _time(container.get("running", ended).get("startedAt", ""))
    return max(0.0, (_time(ended.get("finishedAt", "")) or now) - started) if started else 0.0


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state of a pod's only container."""
    for each in pod.get("status", {}).get("containerStatuses", []):
        found: Mapping[str, Any] = each.get("state", {})
        return found
    return {}


def _conditions(pod: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return {each["type"]: each for each in pod.get("status", {}).get("conditions", [])}


def _annotations(full: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = full["metadata"].get("annotations", {})
    return found


def _owner(pod: Mapping[str, Any]) -> str:
    """Return the kind of what looks after a pod."""
    owners = pod["metadata"].get("ownerReferences", [])
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")


def _label(pod: Mapping[str, Any], name: str) -> str:
    return str(pod["metadata"].get("labels", {}).get(name, ""))


def _age(pod: Mapping[str, Any]) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]


def _time(text: str | None) -> float:
    """Return seconds since the epoch of "2026-11-24T06:00:00Z"; 0 for none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0
