"""What becomes of jobs in Nomad's own language, in the words that all jobs share. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloudmesh.cluster.core.model import JobStatus, State
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.nomad import events, status
from cloudmesh.cluster.providers.nomad.status import Outcome

_GOING = ("pending", "running")


def has_an_end(job: Mapping[str, Any]) -> bool:
    """Return whether a job runs once, and ends."""
    return job.get("Type") == "batch" and not job.get("Periodic") and not job.get("ParameterizedJob")


def find_outputs(allocations: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield allocation and name of each task that has started."""
    for each in sorted(allocations, key=lambda each: int(each["CreateIndex"])):
        for name, task in sorted((each["TaskStates"] or {}).items()):
            if task.get("StartedAt"):
                yield str(each["ID"]), name


def native_status(
    full: Mapping[str, Any],
    allocations: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    now: float,
) -> JobStatus:
    """Return a job as Nomad tells it; the arguments are those of `status.job`."""
    newest = _newest(full, allocations)
    state, exit_code, reason = _ended(full, newest) or _going(newest, evaluations)
    return JobStatus(
        id=full["ID"],
        name=full["Name"],
        state=state,
        submitted=status.read_submit_time(full, evaluations),
        duration=max((events.compute_duration(task, now) for each in newest for task in _tasks(each)), default=0.0),
        exit_code=exit_code,
        reason=reason,
        tasks=tuple(status.read_task_statuses(allocations)),
    )


def _ended(full: Mapping[str, Any], newest: Sequence[Mapping[str, Any]]) -> Outcome | None:
    if full["Stop"]:
        return State.STOPPED, None, outcomes.STOPPED_ON_REQUEST
    if full["Status"] != "dead" or any(each["ClientStatus"] in _GOING for each in newest):
        return None
    for each in newest:
        if each["ClientStatus"] != "complete":
            failed: Mapping[str, Any] = next((task for task in _tasks(each) if task.get("Failed")), {})
            said = each.get("ClientDescription") or f"an allocation is {each['ClientStatus']}"
            return State.FAILED, events.read_exit_code(failed), events.explain_failure(failed) or said
    return (State.SUCCEEDED, 0, "") if newest else (State.FAILED, None, "nothing of it was run")


def _going(newest: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> Outcome:
    blocked = events.explain_blocked(evaluations)
    if any(each["ClientStatus"] == "running" for each in newest):
        return State.RUNNING, None, blocked
    for each in newest:
        if each["ClientStatus"] in ("lost", "unknown"):
            return State.UNKNOWN, None, outcomes.host_lost(each["NodeName"])
    said = (events.describe_last_event(task) for each in newest for task in _tasks(each))
    return State.QUEUED, None, blocked or next(filter(None, said), "")


def _newest(full: Mapping[str, Any], allocations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the newest allocation of each place in the job, as it is now."""
    groups = {group["Name"] for group in full["TaskGroups"]}
    ordered = sorted(allocations, key=lambda each: int(each["CreateIndex"]))
    return list({each["Name"]: each for each in ordered if each["TaskGroup"] in groups}.values())


def _tasks(allocation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((allocation["TaskStates"] or {}).values())
