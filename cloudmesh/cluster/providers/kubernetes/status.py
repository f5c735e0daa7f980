"""Translates what Kubernetes reports about jobs to `JobStatus`; see `pod_status.py` for single pods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cloudmesh.cluster.core.model import JobStatus, State, TaskStatus
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.kubernetes import pod_status
from cloudmesh.cluster.providers.kubernetes.indexed_jobs import INDEX
from cloudmesh.cluster.providers.kubernetes.pod_spec import (
    DIGEST,
    DRIVER,
    HOPELESS,
    JOB,
    NAME,
    PART,
    PLACED,
    STOPPED,
    VOLUMES,
)
from cloudmesh.cluster.providers.kubernetes.pod_status import NATIVE_JOB, annotation, label

# State, exit code and reason of a job.
_Outcome = tuple[State, "int | None", str]
_Object = Mapping[str, Any]
_TIMED_OUT = "DeadlineExceeded"
_HOPELESS_AFTER_SECONDS = 20  # the kubelet tries to pull an image two or three times until then


def job_status(root: _Object, pods: Iterable[_Object], now: float, additional: Sequence[_Object] = ()) -> JobStatus:
    """Return the status of a job.

    Args:
        root: its root Job, see `jobs.py`.
        pods: all pods of the job.
        now: seconds since the epoch.
        additional: the additional Jobs of its other task groups.
    """
    ordered = sorted(pods, key=pod_status.age_key)
    current = _last_attempts(leading_pods(ordered))
    state, exit_code, reason = _outcome_if_ended(root, additional, ordered) or _outcome_if_unfinished(
        root, current, ordered
    )
    return JobStatus(
        id=root["metadata"]["name"],
        name=annotation(root, NAME) or root["metadata"]["name"],
        state=state,
        submitted=pod_status.parse_time(root["metadata"]["creationTimestamp"]),
        duration=_duration(current, now),
        exit_code=exit_code,
        reason=reason,
        digest=annotation(root, DIGEST),
        volumes=tuple(annotation(root, VOLUMES).split()),
        tasks=(*_deleted_tasks(root, ordered), *map(pod_status.task_status, ordered)),
    )


def leading_pods(pods: Iterable[_Object]) -> list[_Object]:
    """Return the pods whose end is the end of the job and whose output is the job's output, the oldest first.

    These are the drivers that a Spark job has had, the tasks of the first task group, or all pods of a native job.
    """
    return sorted(filter(pod_status.is_leading, pods), key=pod_status.age_key)


def has_all_leading_pods(root: _Object, pods: Iterable[_Object]) -> bool:
    """Return whether a job was successful, and has its leading pods still; of other jobs, Kubernetes deletes some."""
    return is_complete(root) and len(_last_attempts(leading_pods(pods))) >= root["spec"].get("completions", 1)


def is_leading_task(root: _Object, task: str) -> bool:
    """Return whether the output of a task, whose pod may be gone, is its job's output; see `leading_pods`."""
    if group := label(root, PART):
        return task.rpartition("-")[0] == group
    return not label(root, JOB) or task == DRIVER


def is_additional(job: _Object) -> bool:
    """Return whether a Job is an additional Job of a job that has another Job as its root Job."""
    return label(job, JOB) not in ("", job["metadata"]["name"])


def has_finished(job: _Object) -> bool:
    """Return whether a Job has completed or failed."""
    return bool({"Complete", "Failed"} & _true_conditions(job).keys())


def is_complete(job: _Object) -> bool:
    """Return whether a Job has ended successfully."""
    return "Complete" in _true_conditions(job)


def why_hopeless(root: _Object, pods: Iterable[_Object], now: float) -> str:
    """Return why a job of ours that has not started can never start; empty if it still may.

    Kubernetes would try for ever to pull an image that does not exist. After the kubelet has tried it two or three
    times, the job is given up.
    """
    all_pods = list(pods)
    if not label(root, JOB) or any(map(pod_status.has_started, all_pods)):
        return ""
    for pod in all_pods:
        accepted = pod_status.accepted_at(pod)
        if accepted and accepted < now - _HOPELESS_AFTER_SECONDS and pod_status.lacks_image(pod):
            return pod_status.why_waiting(pod)
    return ""


class TaskPlacement(NamedTuple):
    """Where an attempt of a task runs or ran.

    Attributes:
        pod: the name of the pod.
        task: the name of the task.
        host: the name of the node.
        created: when the pod was created, "2026-11-24T06:00:00Z".
    """

    pod: str
    task: str
    host: str
    created: str


def task_placements(
    root: _Object, pods: Iterable[_Object], deleted: Iterable[TaskPlacement] = ()
) -> list[TaskPlacement]:
    """Return where the tasks of a job run or ran, only the last attempt of each task, sorted by task.

    Args:
        root: the root Job, which also stores where the tasks ran when the job was stopped.
        pods: all pods of the job.
        deleted: where more of its pods ran, as their hosts say.
    """
    stored = (TaskPlacement(*fields) for fields in json.loads(annotation(root, PLACED) or "[]"))
    placements = [*stored, *deleted]
    for pod in filter(pod_status.has_started, pods):
        created, name = pod_status.age_key(pod)
        placements.append(TaskPlacement(name, pod_status.task_name(pod), pod["spec"]["nodeName"], created))
    placements.sort(key=lambda placement: (placement.created, placement.pod))
    last = {placement.task: placement for placement in placements}
    return sorted(last.values(), key=lambda placement: placement.task)


def _outcome_if_ended(root: _Object, additional: Sequence[_Object], pods: Sequence[_Object]) -> _Outcome | None:
    """Return the outcome of a job that has ended or is being stopped; None of any other."""
    if is_complete(root):
        return State.SUCCEEDED, 0, ""
    if why := annotation(root, HOPELESS):
        return State.FAILED, None, why
    for job in (root, *additional):
        failed = _true_conditions(job).get("Failed")
        # Jobs are stopped by a time limit, so that the failure of a stopped Job by its time limit is no failure.
        if failed and not (_is_stopped(job) and failed.get("reason") == _TIMED_OUT):
            return State.FAILED, *_explain_failure(job, pods)
    return (State.STOPPED, None, outcomes.STOPPED_ON_REQUEST) if _is_stopped(root) else None


def _is_stopped(job: _Object) -> bool:
    return STOPPED in job["metadata"].get("annotations", {})


def _explain_failure(job: _Object, pods: Sequence[_Object]) -> tuple[int | None, str]:
    """Return exit code and reason of a Job that failed: those of its first task whose last attempt failed."""
    name = job["metadata"]["name"]
    own_pods = [pod for pod in pods if (label(pod, NATIVE_JOB) or name) == name and not label(pod, "spark-exec-id")]
    failed = [pod for pod in _last_attempts(own_pods) if pod_status.state(pod) is State.FAILED]
    pod = min(failed, key=pod_status.ended_at, default=None)
    message = str(_true_conditions(job)["Failed"].get("message", ""))
    if pod is None:
        return None, message
    reason = pod_status.why_failed(pod) or message
    has_several_tasks = label(pod, PART) and len({pod_status.task_name(other) for other in pods}) > 1
    return pod_status.exit_code(pod), f"{pod_status.task_name(pod)}: {reason}" if has_several_tasks else reason


def _outcome_if_unfinished(root: _Object, current: Sequence[_Object], pods: Sequence[_Object]) -> _Outcome:
    """Return state and reason of a job that has not ended.

    Args:
        root: the root Job.
        current: the last attempts of its leading pods.
        pods: all its pods.
    """
    why_waiting = next(filter(None, map(pod_status.why_waiting, pods)), "")
    silent = next(filter(pod_status.is_silent, current), None)
    if silent:
        return State.UNKNOWN, None, outcomes.host_silent(silent["spec"].get("nodeName"))
    cut_off = next(filter(pod_status.was_cut_off, current), None)
    if cut_off:  # the controller that decides what follows may be away for as long as the host was
        return State.UNKNOWN, None, pod_status.why_failed(cut_off)
    # A pod that has ended counts as running here: Kubernetes has not decided yet what follows from its end.
    if any(pod_status.is_running(pod) or pod_status.has_ended(pod) for pod in current):
        return State.RUNNING, None, why_waiting
    if root.get("spec", {}).get("suspend") and label(root, JOB):
        return State.QUEUED, None, "its submission was cut off: submit it again with the same --id, or stop it"
    return State.QUEUED, None, why_waiting


def _last_attempts(pods: Iterable[_Object]) -> list[_Object]:
    """Return the newest pod of each task."""
    newest = {(label(pod, NATIVE_JOB), annotation(pod, INDEX)): pod for pod in sorted(pods, key=pod_status.age_key)}
    return list(newest.values())


def _deleted_tasks(root: _Object, pods: Iterable[_Object]) -> Iterable[TaskStatus]:
    """Yield the tasks whose pods Kubernetes has deleted: when the job was stopped, or with their node."""
    ended = State.SUCCEEDED if is_complete(root) else State.UNKNOWN
    state, reason = (State.STOPPED, "") if _is_stopped(root) else (ended, "its host was removed")
    existing = {pod["metadata"]["name"] for pod in pods}
    for placement in task_placements(root, ()):
        if placement.pod not in existing:
            yield TaskStatus(placement.task, placement.host, state, None, reason)


def _duration(pods: Iterable[_Object], now: float) -> float:
    """Return the seconds from the start of the first of `pods` to the end of the last one, or to `now`."""
    times = [(started, pod_status.ended_at(pod) or now) for pod in pods if (started := pod_status.started_at(pod))]
    return max(0.0, max(end for _, end in times) - min(started for started, _ in times)) if times else 0.0


def _true_conditions(job: _Object) -> dict[str, Mapping[str, Any]]:
    """Return the conditions of a Job that are true, by their types."""
    conditions = pod_status.conditions(job)
    return {kind: condition for kind, condition in conditions.items() if condition["status"] == "True"}
