"""The state of jobs in Nomad's own language, read from Nomad's JSON; see `status.py` for the arguments' shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloudmesh.cluster.core.model import JobStatus, State
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.nomad import events, status
from cloudmesh.cluster.providers.nomad.status import Outcome, OutputSource

_UNFINISHED = ("pending", "running")


def has_an_end(job: Mapping[str, Any]) -> bool:
    """Return whether a job runs once, and ends."""
    return job.get("Type") == "batch" and not job.get("Periodic") and not job.get("ParameterizedJob")


def find_outputs(allocations: Sequence[Mapping[str, Any]]) -> Iterator[OutputSource]:
    """Yield every task that has started, the oldest allocation first."""
    for allocation in sorted(allocations, key=lambda entry: int(entry["CreateIndex"])):
        for task, task_state in sorted((allocation["TaskStates"] or {}).items()):
            if task_state.get("StartedAt"):
                yield status.output_source(allocation, task)


def native_status(
    job: Mapping[str, Any],
    allocations: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    now: float,
) -> JobStatus:
    """Return the status of a job; the arguments are those of `status.job_status`."""
    groups = {group["Name"] for group in job["TaskGroups"]}
    newest = status.find_newest(allocation for allocation in allocations if allocation["TaskGroup"] in groups)
    task_states = [task_state for allocation in newest for task_state in _list_task_states(allocation)]
    return status.build_job_status(
        job,
        evaluations,
        meta={},
        outcome=_read_outcome(job, newest) or _read_progress(newest, evaluations),
        duration=max((events.compute_duration(task_state, now) for task_state in task_states), default=0.0),
        tasks=status.read_task_statuses(allocations),
    )


def _read_outcome(job: Mapping[str, Any], newest: Sequence[Mapping[str, Any]]) -> Outcome | None:
    """Return how a job ended; None where it has not."""
    if job["Stop"]:
        return State.STOPPED, None, outcomes.STOPPED_ON_REQUEST
    if job["Status"] != "dead" or any(allocation["ClientStatus"] in _UNFINISHED for allocation in newest):
        return None
    for allocation in newest:
        if allocation["ClientStatus"] != "complete":
            failed = next((state for state in _list_task_states(allocation) if state.get("Failed")), {})
            fallback = allocation.get("ClientDescription") or f"an allocation is {allocation['ClientStatus']}"
            return State.FAILED, events.read_exit_code(failed), events.explain_failure(failed) or fallback
    return (State.SUCCEEDED, 0, "") if newest else (State.FAILED, None, "nothing of it was run")


def _read_progress(newest: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> Outcome:
    """Return the state of a job that has not ended."""
    blocked = events.explain_blocked(evaluations)
    if any(allocation["ClientStatus"] == "running" for allocation in newest):
        return State.RUNNING, None, blocked
    for allocation in newest:
        if allocation["ClientStatus"] in status.LOST:
            return State.UNKNOWN, None, outcomes.host_lost(allocation["NodeName"])
        if allocation["ClientStatus"] == status.SILENT:
            return State.UNKNOWN, None, outcomes.host_silent(allocation["NodeName"])
    reasons = (events.describe_last_event(state) for allocation in newest for state in _list_task_states(allocation))
    return State.QUEUED, None, blocked or next(filter(None, reasons), "")


def _list_task_states(allocation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((allocation["TaskStates"] or {}).values())
