"""What the events of Nomad's tasks, and its evaluations of jobs, mean: exit codes, times and reasons for the user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.nomad.task_group_job import HOST, TIMEOUT

# What `api.py` adds to the state of a task that ended because its host was restarted; it holds the host's name.
HOST_RESTARTED = "cms_host_restarted"
# Types of events whose message says why a task does not run.
_EXPLAINING_EVENTS = ("Driver Failure", "Setup Failure", "Failed Validation", "Template", "Driver")
_NOT_PULLED = re.compile(r"Failed to pull `([^`]+)`: (.*)", re.DOTALL)


def read_exit_code(task_state: Mapping[str, Any]) -> int | None:
    """Return the exit code of a task's last run; None while it runs, and where it has never ended.

    Args:
        task_state: the task's entry in an allocation's "TaskStates"; empty where Nomad has none yet.
    """
    if task_state.get("State") == "running" or HOST_RESTARTED in task_state:
        return None
    if has_timed_out(task_state):
        return outcomes.TIMED_OUT
    codes = [event["ExitCode"] for event in task_state.get("Events") or [] if event["Type"] == "Terminated"]
    return int(codes[-1]) if codes else None


def count_starts(task_state: Mapping[str, Any]) -> int:
    """Return how often a task has been started, as far as Nomad, which keeps ten events, still tells."""
    return [event["Type"] for event in task_state.get("Events") or []].count("Started")


def has_timed_out(task_state: Mapping[str, Any]) -> bool:
    """Return whether a task was ended because it ran longer than it may, and was not started again since."""
    if task_state.get("State") != "dead":
        return False
    events = task_state.get("Events") or []
    last_start = max((index for index, event in enumerate(events) if event["Type"] == "Started"), default=-1)
    return any(_is_time_limit(event) for event in events[last_start + 1 :])


def _is_time_limit(event: Mapping[str, Any]) -> bool:
    return event["Type"] == "Restart Signaled" and TIMEOUT in event["Details"].get("restart_reason", "")


def may_be_cut_off(task_state: Mapping[str, Any]) -> bool:
    """Return whether a task failed as it may when its host is restarted: by a signal, or with a code of Docker's."""
    code = read_exit_code(task_state)
    return task_state.get("State") == "dead" and bool(task_state.get("Failed")) and (code or 0) > outcomes.SIGNALLED


def explain_failure(task_state: Mapping[str, Any]) -> str:
    """Return why a task failed; empty where Nomad does not say."""
    if HOST_RESTARTED in task_state:
        return outcomes.host_restarted(task_state[HOST_RESTARTED])
    events = task_state.get("Events") or []
    ends = [event["Details"] or {} for event in events if event["Type"] == "Terminated"]
    out_of_memory = bool(ends) and ends[-1].get("oom_killed") == "true"
    explanation = outcomes.explain_exit_code(read_exit_code(task_state), out_of_memory=out_of_memory)
    return explanation or describe_last_event(task_state)


def describe_last_event(task_state: Mapping[str, Any]) -> str:
    """Return the last message of Nomad's that says why a task does not run; empty where there is none."""
    for event in reversed(task_state.get("Events") or []):
        if event["Type"] in _EXPLAINING_EVENTS:
            message = str(event["DisplayMessage"])
            not_pulled = _NOT_PULLED.search(message)
            return outcomes.image_not_pulled(not_pulled[1], not_pulled[2]) if not_pulled else message
    return ""


def explain_blocked(evaluations: Iterable[Mapping[str, Any]]) -> str:
    """Return what a job waits for, because no host has it free; empty where no evaluation of the job is blocked."""
    for evaluation in evaluations:
        if evaluation["Status"] == "blocked":
            metrics = list((evaluation.get("FailedTGAllocs") or {}).values())
            lacks = {resource for metric in metrics for resource in (metric.get("DimensionExhausted") or {})}
            unmet = {constraint for metric in metrics for constraint in (metric.get("ConstraintFiltered") or {})}
            if not lacks and any(constraint.startswith(HOST) for constraint in unmet):
                return "waits for the host that it is bound to"
            return outcomes.waits_for_room(lacks or unmet)
    return ""


def compute_duration(task_state: Mapping[str, Any], now: float) -> float:
    """Return for how many seconds a task has run, or ran; `now` is in seconds since the epoch."""
    started, finished = parse_time(task_state.get("StartedAt")), parse_time(task_state.get("FinishedAt"))
    return max(0.0, (finished or now) - started) if started else 0.0


def parse_time(text: str | None) -> float:
    """Return "2026-11-24T06:00:00.123456789Z" in seconds since the epoch; 0 for no text, and for Nomad's year 1."""
    if not text or text.startswith("0001"):
        return 0.0
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
    return seconds + float(f"0.{fraction or 0}")
