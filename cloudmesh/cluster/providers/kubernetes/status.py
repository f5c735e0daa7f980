"""What Kubernetes says of jobs, in the words that both engines share. Pure; see `podstatus.py` for single pods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cloudmesh.cluster.core.model import JobStatus, State, TaskStatus
from cloudmesh.cluster.providers.kubernetes import pod_status
from cloudmesh.cluster.providers.kubernetes.indexed_jobs import INDEX
from cloudmesh.cluster.providers.kubernetes.pod_spec import DIGEST, HOPELESS, JOB, NAME, PART, PLACED, STOPPED, VOLUMES
from cloudmesh.cluster.providers.kubernetes.pod_status import NATIVE_JOB, annotation, label

_Outcome = tuple[State, "int | None", str]
_Whole = Mapping[str, Any]
_TIMED_OUT = "DeadlineExceeded"
_HOPE_SECONDS = 20  # two or three attempts of the kubelet


def job_status(full: _Whole, pods: Iterable[_Whole], now: float, others: Sequence[_Whole] = ()) -> JobStatus:
    """Return a job as Kubernetes tells it.

    Args:
        full: the Job that stands for it.
        pods: of the job, all of them.
        now: seconds since the epoch.
        others: Jobs of its other parts.
    """
    ordered = sorted(pods, key=pod_status.age_key)
    current = _newest(leading_pods(ordered))
    state, exit_code, reason = _ended(full, others, ordered) or _going(full, current, ordered)
    return JobStatus(
        id=full["metadata"]["name"],
        name=annotation(full, NAME) or full["metadata"]["name"],
        state=state,
        submitted=pod_status.parse_time(full["metadata"]["creationTimestamp"]),
        duration=_duration(current, now),
        exit_code=exit_code,
        reason=reason,
        digest=annotation(full, DIGEST),
        volumes=tuple(annotation(full, VOLUMES).split()),
        tasks=(*_forgotten_tasks(full, ordered), *map(pod_status.task_status, ordered)),
    )


def leading_pods(pods: Iterable[_Whole]) -> list[_Whole]:
    """Return the drivers that a job has had, or the tasks of its first part, or a native job's pods, newest last."""
    return sorted(filter(pod_status.is_leading, pods), key=pod_status.age_key)


def is_additional(full: _Whole) -> bool:
    """Return whether a Job is a part of another one, which stands for the whole."""
    return label(full, JOB) not in ("", full["metadata"]["name"])


def has_finished(full: _Whole) -> bool:
    """Return whether a Job has nothing more to do."""
    return bool({"Complete", "Failed"} & _true_conditions(full).keys())


def is_complete(full: _Whole) -> bool:
    """Return whether a Job has done what it had to do."""
    return "Complete" in _true_conditions(full)


def why_hopeless(full: _Whole, pods: Iterable[_Whole], now: float) -> str:
    """Return why a job of ours that has not begun never can; empty if it may.

    Kubernetes would look for ever for an image that is not there. The kubelet tries it again once or twice.
    """
    its = list(pods)
    if not label(full, JOB) or any(map(pod_status.has_started, its)):
        return ""
    late = (pod for pod in its if pod_status.accepted_at(pod) and pod_status.accepted_at(pod) < now - _HOPE_SECONDS)
    return next((pod_status.why_waiting(pod) for pod in late if pod_status.lacks_image(pod)), "")


class TaskPlacement(NamedTuple):
    """Where an attempt of a task is or was.

    Attributes:
        pod: its name.
        task: the task's.
        host: the engine's name of it.
        created: when, in Kubernetes' own words.
    """

    pod: str
    task: str
    host: str
    created: str


def task_placements(full: _Whole, pods: Iterable[_Whole]) -> list[TaskPlacement]:
    """Return where the tasks of a job are or were, each in its last attempt, by their names.

    Args:
        full: the Job that stands for it.
        pods: of the job.
    """
    found = [TaskPlacement(*fields) for fields in json.loads(annotation(full, PLACED) or "[]")]
    for pod in filter(pod_status.has_started, pods):
        created, name = pod_status.age_key(pod)
        found.append(TaskPlacement(name, pod_status.task_name(pod), pod["spec"]["nodeName"], created))
    last = {each.task: each for each in sorted(found, key=lambda each: (each.created, each.pod))}
    return sorted(last.values(), key=lambda each: each.task)


def _ended(full: _Whole, others: Sequence[_Whole], pods: Sequence[_Whole]) -> _Outcome | None:
    """Return how the job ended, or that it is stopped; None where neither."""
    if is_complete(full):
        return State.SUCCEEDED, 0, ""
    if why := annotation(full, HOPELESS):
        return State.FAILED, None, why
    stopped = STOPPED in full["metadata"].get("annotations", {})
    for each in (full, *others):
        failed = _true_conditions(each).get("Failed")
        ours = STOPPED in each["metadata"].get("annotations", {})
        if failed and not (ours and failed.get("reason") == _TIMED_OUT):
            return State.FAILED, *_failure(each, pods)
    return (State.STOPPED, None, "stopped on request") if stopped else None


def _failure(failed: _Whole, pods: Sequence[_Whole]) -> tuple[int | None, str]:
    """Return exit code and reason of a Job that failed: those of the first of its tasks whose last attempt failed."""
    name = failed["metadata"]["name"]
    its = _newest([pod for pod in pods if (label(pod, NATIVE_JOB) or name) == name and not _is_executor(pod)])
    bad = [pod for pod in its if pod_status.state(pod) is State.FAILED]
    pod = min(bad, key=pod_status.ended_at, default=None)
    if pod is None:
        return None, str(_true_conditions(failed)["Failed"].get("message", ""))
    said = pod_status.why_failed(pod) or str(_true_conditions(failed)["Failed"].get("message", ""))
    several = label(pod, PART) and len({pod_status.task_name(each) for each in pods}) > 1
    return pod_status.exit_code(pod), f"{pod_status.task_name(pod)}: {said}" if several else said


def _is_executor(pod: _Whole) -> bool:
    return bool(label(pod, "spark-exec-id"))


def _going(full: _Whole, current: Sequence[_Whole], pods: Sequence[_Whole]) -> _Outcome:
    """Return what a job does that has not ended."""
    waits = next(filter(None, map(pod_status.why_waiting, pods)), "")
    silent = next(filter(pod_status.is_silent, current), None)
    if silent:
        return State.UNKNOWN, None, f"its host {silent['spec'].get('nodeName')} does not answer"
    # Of what has ended, Kubernetes has not said yet what follows from it.
    if any(pod_status.is_running(pod) or pod_status.has_ended(pod) for pod in current):
        return State.RUNNING, None, waits
    if full.get("spec", {}).get("suspend") and label(full, JOB):
        return State.QUEUED, None, "its submission was cut off: submit it again with the same --id, or stop it"
    return State.QUEUED, None, waits


def _newest(pods: Iterable[_Whole]) -> list[_Whole]:
    """Return the last attempt of each task."""
    found = {(label(pod, NATIVE_JOB), annotation(pod, INDEX)): pod for pod in sorted(pods, key=pod_status.age_key)}
    return list(found.values())


def _forgotten_tasks(full: _Whole, pods: Iterable[_Whole]) -> Iterable[TaskStatus]:
    """Yield the tasks that were ended with the job, of which Kubernetes knows no more."""
    known = {pod["metadata"]["name"] for pod in pods}
    for each in task_placements(full, ()):
        if each.pod not in known:
            yield TaskStatus(each.task, each.host, State.STOPPED)


def _duration(pods: Iterable[_Whole], now: float) -> float:
    times = [(began, pod_status.ended_at(pod) or now) for pod in pods if (began := pod_status.started_at(pod))]
    return max(0.0, max(end for _, end in times) - min(began for began, _ in times)) if times else 0.0


def _true_conditions(full: _Whole) -> dict[str, Mapping[str, Any]]:
    return {kind: each for kind, each in pod_status.conditions(full).items() if each["status"] == "True"}
