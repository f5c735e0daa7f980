"""What Nomad's events and evaluations say, in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.nomad.task_group_job import HOST, TIMEOUT
from cloudmesh.cluster.providers.outcomes import TIMED_OUT, explain_exit_code

_TELLING = ("Driver Failure", "Setup Failure", "Failed Validation", "Template", "Driver")
_NOT_PULLED = re.compile(r"Failed to pull `([^`]+)`: (.*)", re.DOTALL)


def read_exit_code(task: Mapping[str, Any]) -> int | None:
    """Return what a task ended with; None where it runs, though it may have ended before, or never has."""
    if task.get("State") == "running":
        return None
    if has_timed_out(task):
        return TIMED_OUT
    codes = [event["ExitCode"] for event in task.get("Events") or [] if event["Type"] == "Terminated"]
    return int(codes[-1]) if codes else None


def has_timed_out(task: Mapping[str, Any]) -> bool:
    """Return whether a task was ended, and not started again, because it ran longer than it may."""
    if task.get("State") != "dead":
        return False
    events = task.get("Events") or []
    last = max((at for at, event in enumerate(events) if event["Type"] == "Started"), default=-1)
    return any(_is_time_limit(event) for event in events[last + 1 :])


def _is_time_limit(event: Mapping[str, Any]) -> bool:
    return event["Type"] == "Restart Signaled" and TIMEOUT in event["Details"].get("restart_reason", "")


def explain_failure(task: Mapping[str, Any]) -> str:
    """Return why a task failed, in words."""
    events = task.get("Events") or []
    out_of_memory = any(event["Details"].get("oom_killed") == "true" for event in events)
    return explain_exit_code(read_exit_code(task), out_of_memory=out_of_memory) or describe_last_event(task)


def describe_last_event(task: Mapping[str, Any]) -> str:
    """Return what Nomad says last of why a task does not run."""
    for event in reversed(task.get("Events") or []):
        if event["Type"] in _TELLING:
            message = str(event["DisplayMessage"])
            refused = _NOT_PULLED.search(message)
            return outcomes.image_not_pulled(refused[1], refused[2]) if refused else message
    return ""


def explain_blocked(evaluations: Iterable[Mapping[str, Any]]) -> str:
    """Return what a job waits for that no host has free; empty where it does not."""
    for evaluation in evaluations:
        if evaluation["Status"] == "blocked":
            metrics = list((evaluation.get("FailedTGAllocs") or {}).values())
            lacks = {each for metric in metrics for each in (metric.get("DimensionExhausted") or {})}
            unmet = {each for metric in metrics for each in (metric.get("ConstraintFiltered") or {})}
            if not lacks and any(each.startswith(HOST) for each in unmet):
                return "waits for the host that it is bound to"
            return outcomes.waits_for_room(lacks or unmet)
    return ""


def compute_duration(task: Mapping[str, Any], now: float) -> float:
    """Return for how many seconds a task has run."""
    started, finished = parse_time(task.get("StartedAt")), parse_time(task.get("FinishedAt"))
    return max(0.0, (finished or now) - started) if started else 0.0


def parse_time(text: str | None) -> float:
    """Return seconds since the epoch of "2026-11-24T06:00:00.123456789Z"; 0 for none."""
    if not text or text.startswith("0001"):
        return 0.0
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
    return seconds + float(f"0.{fraction or 0}")
