"""What becomes of the jobs that are ours, in the words that both engines share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cloudmesh.cluster.core.model import JobStatus, State, TaskStatus
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.nomad.events import (
    compute_duration,
    describe_last_event,
    explain_blocked,
    explain_failure,
    has_timed_out,
    parse_time,
    read_exit_code,
)
from cloudmesh.cluster.providers.nomad.job_spec import DIGEST, FIRST, NAME, VOLUMES
from cloudmesh.cluster.providers.nomad.spark_job import HEAD, MASTER

_NANOSECONDS = 1e9
_LOST = ("lost", "unknown")


class Leader(NamedTuple):
    """A task whose end is the job's, or one of several such.

    Attributes:
        name: of the task.
        allocation: the newest that it has.
        task: what Nomad says of it; empty where it says nothing yet.
    """

    name: str
    allocation: Mapping[str, Any]
    task: Mapping[str, Any]


def find_leaders(full: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]]) -> list[Leader]:
    """Return the tasks of a job's first part that have a place, in their order."""
    group = full["TaskGroups"][0]
    name = next(task["Name"] for task in group["Tasks"] if not task.get("Lifecycle"))
    its = (each for each in allocations if each["TaskGroup"] == group["Name"])
    return [Leader(name, each, _task(each, name)) for each in sorted(_newest(its), key=_index)]


def find_outputs(full: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return allocation and task of those whose output is the job's: of each leader the newest that has started."""
    begun = [each for each in allocations if any(leader.task.get("StartedAt") for leader in find_leaders(full, [each]))]
    return [(str(leader.allocation["ID"]), leader.name) for leader in find_leaders(full, begun)]


def job_status(
    full: Mapping[str, Any],
    allocations: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    now: float,
) -> JobStatus:
    """Return a job as Nomad tells it.

    Args:
        full: the job.
        allocations: all that it ever had.
        evaluations: of it.
        now: seconds since the epoch.
    """
    leading = find_leaders(full, allocations)
    state, code, reason = _ended(full, leading) or _going(full, leading, evaluations)
    return JobStatus(
        id=full["ID"],
        name=full["Meta"].get(NAME, full["ID"]),
        state=state,
        submitted=read_submit_time(full, evaluations),
        duration=max((compute_duration(leader.task, now) for leader in leading), default=0.0),
        exit_code=code,
        reason=reason,
        digest=full["Meta"].get(DIGEST, ""),
        volumes=tuple(full["Meta"].get(VOLUMES, "").split()),
        tasks=tuple(read_task_statuses(_newest(allocations) if full["Type"] == "service" else allocations)),
    )


def read_submit_time(full: Mapping[str, Any], evaluations: Iterable[Mapping[str, Any]]) -> float:
    """Return when a job was submitted, in seconds since the epoch; for Nomad, to stop it is to submit it anew."""
    times = [full["SubmitTime"], *(each["CreateTime"] for each in evaluations if each.get("CreateTime"))]
    return float(min(times)) / _NANOSECONDS


def is_over(stub: Mapping[str, Any]) -> bool:
    """Return whether a job has ended, but for tasks of it that have not noticed.

    Args:
        stub: the job as a list of jobs has it, with what was written down of it when it was submitted.
    """
    summary = ((stub.get("JobSummary") or {}).get("Summary") or {}).get(stub["Meta"].get(FIRST))
    if stub["Type"] != "batch" or stub["Status"] != "running" or not summary:
        return False
    going = sum(summary[state] for state in ("Queued", "Starting", "Running", "Lost", "Unknown"))
    return bool(summary["Failed"] or (summary["Complete"] and not going))


Outcome = tuple[State, "int | None", str]


def _ended(full: Mapping[str, Any], leading: Sequence[Leader]) -> Outcome | None:
    """Return how the leaders ended by themselves, or that the job was stopped; None where neither."""
    by_themselves = [leader for leader in leading if _ended_by_itself(full, leader.task)]
    failed = [leader for leader in by_themselves if read_exit_code(leader.task) != 0 or leader.task["Failed"]]
    if failed:
        first = min(failed, key=lambda leader: parse_time(leader.task.get("FinishedAt")))
        which = f"{_task_name(first.allocation, first.name)}: " if len(leading) > 1 else ""
        return State.FAILED, read_exit_code(first.task), f"{which}{explain_failure(first.task)}"
    if leading and len(by_themselves) == full["TaskGroups"][0]["Count"]:
        return State.SUCCEEDED, 0, ""
    return (State.STOPPED, None, outcomes.STOPPED_ON_REQUEST) if full["Stop"] else None


def _ended_by_itself(full: Mapping[str, Any], task: Mapping[str, Any]) -> bool:
    if task.get("State") != "dead" or not task.get("StartedAt"):
        return False
    killed = any(event["Type"] in ("Killing", "Killed") for event in task["Events"])
    return has_timed_out(task) or not (full["Stop"] and killed)


def _going(full: Mapping[str, Any], leading: Sequence[Leader], evaluations: Sequence[Mapping[str, Any]]) -> Outcome:
    """Return what a job does whose leaders have not all ended by themselves."""
    for leader in leading:
        newest = leader.allocation
        if newest["ClientStatus"] in _LOST:
            state = State.FAILED if full["Status"] == "dead" else State.UNKNOWN
            return state, None, outcomes.host_lost(newest["NodeName"])
        if newest["ClientStatus"] == "failed":
            return State.FAILED, None, explain_failure(leader.task) or str(newest.get("ClientDescription", ""))
    if any(leader.task.get("State") == "running" for leader in leading):
        return State.RUNNING, None, explain_blocked(evaluations)
    if not leading:
        return State.QUEUED, None, explain_blocked(evaluations)
    said = (describe_last_event(leader.task) for leader in leading)
    return State.QUEUED, None, next(filter(None, said), "") or explain_blocked(evaluations)


def read_task_statuses(allocations: Iterable[Mapping[str, Any]]) -> Iterable[TaskStatus]:
    """Yield the tasks of a job, group by group."""
    for each in sorted(allocations, key=lambda each: (each["TaskGroup"], each["CreateIndex"], each["Name"])):
        for name, task in sorted((each["TaskStates"] or {}).items()):
            state, reason = _task_state(each, task)
            yield TaskStatus(_task_name(each, name), each["NodeName"], state, read_exit_code(task), reason)


def _task_state(allocation: Mapping[str, Any], task: Mapping[str, Any]) -> tuple[State, str]:
    state = _TASK_STATES[task["State"]]
    if not state.ended and allocation["ClientStatus"] in _LOST:
        return State.UNKNOWN, outcomes.host_lost(allocation["NodeName"])
    if state is State.SUCCEEDED and (task["Failed"] or has_timed_out(task)):
        return State.FAILED, explain_failure(task)
    # It did not fail by itself: the job had no more need of it.
    return (State.STOPPED if state is State.SUCCEEDED and read_exit_code(task) else state), ""


def find_started_tasks(allocations: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the name of the task, and the allocation, of all that have started; the master is no task of the job's.

    Of a task that was started anew elsewhere, the older ones have the number of the try behind their name.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in sorted(allocations, key=lambda each: -int(each["CreateIndex"])):
        names = [name for name, task in (each["TaskStates"] or {}).items() if task.get("StartedAt")]
        # Spark's head: the driver, or the master alone where the driver never ran.
        leading = [name for name in sorted(names) if name != MASTER]
        if leading:
            found.setdefault(_task_name(each, leading[0]), []).append(each)
    return [
        (name if not at else f"{name}-try-{len(its) - at}", each)
        for name, its in sorted(found.items())
        for at, each in enumerate(its)
    ]


_TASK_STATES = {"pending": State.QUEUED, "running": State.RUNNING, "dead": State.SUCCEEDED}


def _task_name(allocation: Mapping[str, Any], name: str) -> str:
    """Return a task's name as the job's tasks have it: "driver", "worker-2"."""
    group = allocation["TaskGroup"]
    if group == HEAD != name:
        return name
    return str(group) if group.startswith(f"{name}-") else f"{name}-{_index(allocation)}"


def _newest(allocations: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the newest allocation of each place in the job."""
    return list(
        {each["Name"]: each for each in sorted(allocations, key=lambda each: int(each["CreateIndex"]))}.values()
    )


def _index(allocation: Mapping[str, Any]) -> int:
    return int(allocation["Name"].rpartition("[")[2].rstrip("]"))


def _task(allocation: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (allocation["TaskStates"] or {}).get(name, {})
    return found
