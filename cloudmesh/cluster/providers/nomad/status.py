"""The state of jobs that were made of job files, read from Nomad's JSON; `native.py` does the same for all others.

Arguments are Nomad's JSON as it is: `job` comes from /v1/job/ID, `allocations` and `evaluations` are the job's, and
`task_state` is a task's entry in an allocation's "TaskStates".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cloudmesh.cluster.core.model import JobStatus, State, TaskStatus
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.nomad.events import (
    compute_duration,
    count_starts,
    describe_last_event,
    explain_blocked,
    explain_failure,
    has_timed_out,
    parse_time,
    read_exit_code,
)
from cloudmesh.cluster.providers.nomad.job_spec import DIGEST, FIRST_GROUP, NAME, VOLUMES
from cloudmesh.cluster.providers.nomad.spark_job import HEAD, MASTER

_NANOSECONDS = 1e9
# Values of an allocation's "ClientStatus" while its host is away, and one of ours: see host_faults.py.
LOST = ("lost", "unknown")
SILENT = "silent"
_TASK_STATES = {"pending": State.QUEUED, "running": State.RUNNING, "dead": State.SUCCEEDED}

Outcome = tuple[State, "int | None", str]  # state, exit code and reason of a job


class OutputSource(NamedTuple):
    """A task whose output is the job's.

    Attributes:
        allocation_id: of the allocation that it is in.
        task: its name there.
        node_id: of the node where it runs or ran.
        host: that node's name.
        starts: how often it has been started, at least.
        is_over: whether it has ended, or is about to be ended.
    """

    allocation_id: str
    task: str
    node_id: str
    host: str
    starts: int
    is_over: bool


class Leader(NamedTuple):
    """A task of a job's first group: the job has ended when all tasks of that group have.

    Attributes:
        task: its name.
        allocation: the newest allocation that it is in.
        task_state: of the task in this allocation; empty where Nomad has none yet.
    """

    task: str
    allocation: Mapping[str, Any]
    task_state: Mapping[str, Any]


def find_leaders(job: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]]) -> list[Leader]:
    """Return the tasks of a job's first group that have an allocation, by their index."""
    group = job["TaskGroups"][0]
    task = next(task["Name"] for task in group["Tasks"] if not task.get("Lifecycle"))
    newest = find_newest(allocation for allocation in allocations if allocation["TaskGroup"] == group["Name"])
    return [
        Leader(task, allocation, (allocation["TaskStates"] or {}).get(task, {}))
        for allocation in sorted(newest, key=_read_index)
    ]


def find_outputs(job: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]]) -> list[OutputSource]:
    """Return the tasks whose output is the job's: each leader where it started last."""
    started = [
        allocation
        for allocation in allocations
        if any(leader.task_state.get("StartedAt") for leader in find_leaders(job, [allocation]))
    ]
    return [output_source(leader.allocation, leader.task) for leader in find_leaders(job, started)]


def output_source(allocation: Mapping[str, Any], task: str) -> OutputSource:
    """Return a task of an allocation as a source of output."""
    task_state = allocation["TaskStates"][task]
    is_over = task_state["State"] == "dead" or allocation.get("DesiredStatus") in ("stop", "evict")
    node_id, host = str(allocation["NodeID"]), str(allocation["NodeName"])
    return OutputSource(str(allocation["ID"]), task, node_id, host, count_starts(task_state), is_over)


def job_status(
    job: Mapping[str, Any],
    allocations: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    now: float,
) -> JobStatus:
    """Return the status of a job that was made of a job file.

    Args:
        job: the job.
        allocations: all that the job ever had.
        evaluations: of the job.
        now: seconds since the epoch.
    """
    leaders = find_leaders(job, allocations)
    return build_job_status(
        job,
        evaluations,
        meta=job["Meta"],
        outcome=_read_outcome(job, leaders) or _read_progress(job, leaders, evaluations),
        duration=max((compute_duration(leader.task_state, now) for leader in leaders), default=0.0),
        tasks=read_task_statuses(find_newest(allocations) if job["Type"] == "service" else allocations),
    )


def build_job_status(
    job: Mapping[str, Any],
    evaluations: Iterable[Mapping[str, Any]],
    *,
    meta: Mapping[str, str],
    outcome: Outcome,
    duration: float,
    tasks: Iterable[TaskStatus],
) -> JobStatus:
    """Return the status of a job of any kind.

    Args:
        job: the job.
        evaluations: of the job.
        meta: what `job_spec` writes into the "Meta" of a job that was made of a job file; empty for all others.
        outcome: of the job.
        duration: for how many seconds it has run.
        tasks: of the job.
    """
    state, exit_code, reason = outcome
    return JobStatus(
        id=job["ID"],
        name=meta.get(NAME) or job["Name"],
        state=state,
        submitted=_read_submit_time(job, evaluations),
        duration=duration,
        exit_code=exit_code,
        reason=reason,
        digest=meta.get(DIGEST, ""),
        volumes=tuple(meta.get(VOLUMES, "").split()),
        tasks=tuple(tasks),
    )


def _read_submit_time(job: Mapping[str, Any], evaluations: Iterable[Mapping[str, Any]]) -> float:
    """Return when a job was submitted, in seconds since the epoch.

    Nomad changes the "SubmitTime" of a job that is stopped; its first evaluation still has the time of its submission.
    """
    created = (evaluation["CreateTime"] for evaluation in evaluations if evaluation.get("CreateTime"))
    return float(min([job["SubmitTime"], *created])) / _NANOSECONDS


def is_over(job_summary: Mapping[str, Any]) -> bool:
    """Return whether the first group of a job has ended, though Nomad still runs other groups of it.

    Args:
        job_summary: the job's entry in Nomad's list of jobs, with its "Meta".
    """
    groups = (job_summary.get("JobSummary") or {}).get("Summary") or {}
    counts = groups.get(job_summary["Meta"].get(FIRST_GROUP))
    if job_summary["Type"] != "batch" or job_summary["Status"] != "running" or not counts:
        return False
    unfinished = sum(counts[state] for state in ("Queued", "Starting", "Running", "Lost", "Unknown"))
    return bool(counts["Failed"] or (counts["Complete"] and not unfinished))


def _read_outcome(job: Mapping[str, Any], leaders: Sequence[Leader]) -> Outcome | None:
    """Return how the leaders ended by themselves, or that the job was stopped; None where neither is so."""
    ended = [leader for leader in leaders if _has_ended_by_itself(job, leader.task_state)]
    failed = [leader for leader in ended if read_exit_code(leader.task_state) != 0 or leader.task_state["Failed"]]
    if failed:
        first = min(failed, key=lambda leader: parse_time(leader.task_state.get("FinishedAt")))
        prefix = f"{_build_task_name(first.allocation, first.task)}: " if len(leaders) > 1 else ""
        return State.FAILED, read_exit_code(first.task_state), f"{prefix}{explain_failure(first.task_state)}"
    if leaders and len(ended) == job["TaskGroups"][0]["Count"]:
        return State.SUCCEEDED, 0, ""
    return (State.STOPPED, None, outcomes.STOPPED_ON_REQUEST) if job["Stop"] else None


def _has_ended_by_itself(job: Mapping[str, Any], task_state: Mapping[str, Any]) -> bool:
    if task_state.get("State") != "dead" or not task_state.get("StartedAt"):
        return False
    killed = any(event["Type"] in ("Killing", "Killed") for event in task_state["Events"])
    return has_timed_out(task_state) or not (job["Stop"] and killed)


def _read_progress(
    job: Mapping[str, Any], leaders: Sequence[Leader], evaluations: Sequence[Mapping[str, Any]]
) -> Outcome:
    """Return the state of a job whose leaders have not all ended by themselves, and that was not stopped."""
    for leader in leaders:
        allocation = leader.allocation
        if allocation["ClientStatus"] in LOST:
            state = State.FAILED if job["Status"] == "dead" else State.UNKNOWN
            return state, None, outcomes.host_lost(allocation["NodeName"])
        if allocation["ClientStatus"] == SILENT:
            return State.UNKNOWN, None, outcomes.host_silent(allocation["NodeName"])
        if allocation["ClientStatus"] == "failed":
            reason = explain_failure(leader.task_state) or str(allocation.get("ClientDescription", ""))
            return State.FAILED, None, reason
    if any(leader.task_state.get("State") == "running" for leader in leaders):
        return State.RUNNING, None, explain_blocked(evaluations)
    reasons = (describe_last_event(leader.task_state) for leader in leaders)
    return State.QUEUED, None, next(filter(None, reasons), "") or explain_blocked(evaluations)


def read_task_statuses(allocations: Iterable[Mapping[str, Any]]) -> Iterable[TaskStatus]:
    """Yield the tasks in these allocations, group by group."""
    for allocation in sorted(allocations, key=lambda entry: (entry["TaskGroup"], entry["CreateIndex"], entry["Name"])):
        for task, task_state in sorted((allocation["TaskStates"] or {}).items()):
            state, reason = _read_task_state(allocation, task_state)
            name = _build_task_name(allocation, task)
            yield TaskStatus(name, allocation["NodeName"], state, read_exit_code(task_state), reason)


def _read_task_state(allocation: Mapping[str, Any], task_state: Mapping[str, Any]) -> tuple[State, str]:
    """Return state and reason of a task."""
    state = _TASK_STATES[task_state["State"]]
    if not state.ended and allocation["ClientStatus"] in LOST:
        return State.UNKNOWN, outcomes.host_lost(allocation["NodeName"])
    if not state.ended and allocation["ClientStatus"] == SILENT:
        return State.UNKNOWN, outcomes.host_silent(allocation["NodeName"])
    if state is State.SUCCEEDED and (task_state["Failed"] or has_timed_out(task_state)):
        return State.FAILED, explain_failure(task_state)
    # A task that did not fail by itself, but has an exit code, was ended because the job needed it no more.
    return (State.STOPPED if state is State.SUCCEEDED and read_exit_code(task_state) else state), ""


def find_started_tasks(allocations: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the name of each task that has started, with its allocation; Spark's master is left out.

    Where a task was started anew in another allocation, the newest has the task's name, and each older one has the
    number of the attempt behind it: "worker-2-try-1".
    """
    attempts: dict[str, list[Mapping[str, Any]]] = {}
    for allocation in sorted(allocations, key=lambda entry: -int(entry["CreateIndex"])):
        started = [task for task, state in (allocation["TaskStates"] or {}).items() if state.get("StartedAt")]
        # In Spark's head group only the driver counts; its master may have started alone.
        tasks = [task for task in sorted(started) if task != MASTER]
        if tasks:
            attempts.setdefault(_build_task_name(allocation, tasks[0]), []).append(allocation)
    return [
        (f"{name}-try-{len(newest_first) - age}" if age else name, allocation)
        for name, newest_first in sorted(attempts.items())
        for age, allocation in enumerate(newest_first)
    ]


def find_newest(allocations: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the newest of the allocations that have the same name, for each name: "JOB.GROUP[INDEX]"."""
    ordered = sorted(allocations, key=lambda entry: int(entry["CreateIndex"]))
    return list({allocation["Name"]: allocation for allocation in ordered}.values())


def _build_task_name(allocation: Mapping[str, Any], task: str) -> str:
    """Return the name by which users know a task: "driver", "worker-2"."""
    group = allocation["TaskGroup"]
    if group == HEAD != task:
        return task
    return str(group) if group.startswith(f"{task}-") else f"{task}-{_read_index(allocation)}"


def _read_index(allocation: Mapping[str, Any]) -> int:
    """Return the index within the group, from an allocation's name "JOB.GROUP[INDEX]"."""
    return int(allocation["Name"].rpartition("[")[2].rstrip("]"))
