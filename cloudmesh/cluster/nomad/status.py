"""What Nomad's answers mean, in the words that both engines share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from cloudmesh.cluster.model import JobStatus, Node, Role, State, TaskStatus
from cloudmesh.cluster.nomad.config import SERVER_POOL
from cloudmesh.cluster.nomad.jobs import CORE, DIGEST, DRIVER, HEAD, NAME
from cloudmesh.cluster.placement import why

_NANOSECONDS = 1e9


def server(gossip: str, *, votes: bool) -> str:
    """Return the status of a host as a server.

    Args:
        gossip: what the others say of it.
        votes: whether it counts for the majority; a new one does so only after some seconds.
    """
    if gossip != "alive":
        return "down"
    return "ready" if votes else "joining"


def node(full: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]], servers: Mapping[str, str]) -> Node:
    """Return a host as Nomad describes it.

    Args:
        full: the node.
        allocations: of all jobs, with their resources.
        servers: what `server` says of each server, by its address.
    """
    address = full["Attributes"].get("unique.network.ip-address", "")
    resources, reserved = full["NodeResources"], full["ReservedResources"] or {}
    takes_jobs = full["NodePool"] != SERVER_POOL
    cores = resources["Cpu"]["CpuShares"] / CORE * takes_jobs
    memory = (resources["Memory"]["MemoryMB"] - reserved.get("Memory", {}).get("MemoryMB", 0)) * takes_jobs
    used_cpu, used_memory = _used(full["ID"], allocations)
    roles = (Role.SERVER,) * (address in servers) + (Role.WORKER,) * takes_jobs
    return Node(
        name=full["Name"],
        address=address,
        roles=roles,
        status=_node_status(full, servers.get(address, "ready")),
        cores=cores,
        memory_mb=memory,
        free_cores=max(0.0, round(cores - used_cpu / CORE, 2)),
        free_memory_mb=max(0, memory - used_memory),
        version=full["Attributes"].get("nomad.version", ""),
        contact=(full["Meta"] or {}).get("cms_contact", ""),
        host_key=(full["Meta"] or {}).get("cms_host_key", ""),
        id=full["ID"],
    )


def _node_status(full: Mapping[str, Any], as_server: str) -> str:
    if full["Status"] == "ready" and as_server != "ready":
        return as_server
    if full["Status"] == "ready" and full["SchedulingEligibility"] != "eligible":
        return "draining" if full.get("DrainStrategy") else "drained"
    if full["Status"] == "ready" and not full["Drivers"].get("docker", {}).get("Healthy"):
        return "no docker"
    return str(full["Status"])


def _used(node_id: str, allocations: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    cpu = memory = 0
    for each in allocations:
        if each["NodeID"] == node_id and each["ClientStatus"] in ("pending", "running"):
            for task in each["AllocatedResources"]["Tasks"].values():
                cpu += task["Cpu"]["CpuShares"]
                memory += task["Memory"]["MemoryMB"]
    return cpu, memory


def driver_allocation(allocations: Iterable[Mapping[str, Any]]) -> str:
    """Return the id of the newest allocation whose driver has started; empty if none has."""
    started = [each for each in _heads(allocations) if _task(each, DRIVER).get("StartedAt")]
    return str(started[-1]["ID"]) if started else ""


def job(
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
    heads = _heads(allocations)
    driver = _task(heads[-1], DRIVER) if heads else {}
    state, code, reason = _ended(full, driver) or _going(full, heads, driver, evaluations)
    return JobStatus(
        id=full["ID"],
        name=full["Meta"].get(NAME, full["ID"]),
        state=state,
        submitted=full["SubmitTime"] / _NANOSECONDS,
        duration=duration(driver, now),
        exit_code=code,
        reason=reason,
        digest=full["Meta"].get(DIGEST, ""),
        tasks=tuple(tasks(allocations)),
    )


Outcome = tuple[State, "int | None", str]


def _ended(full: Mapping[str, Any], driver: Mapping[str, Any]) -> Outcome | None:
    """Return how the driver ended by itself, or that the job was stopped; None where neither."""
    if driver.get("State") == "dead" and driver.get("StartedAt") and not _was_stopped(full, driver):
        code = exit_code(driver)
        return (State.SUCCEEDED, 0, "") if code == 0 and not driver["Failed"] else (State.FAILED, code, cause(driver))
    return (State.STOPPED, None, "stopped on request") if full["Stop"] else None


def _going(
    full: Mapping[str, Any],
    heads: Sequence[Mapping[str, Any]],
    driver: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
) -> Outcome:
    """Return what a job does whose driver has not ended by itself."""
    if not heads:
        return State.QUEUED, None, why_blocked(evaluations)
    newest = heads[-1]
    if newest["ClientStatus"] in ("lost", "unknown"):
        state = State.FAILED if full["Status"] == "dead" else State.UNKNOWN
        return state, None, f"its host {newest['NodeName']} was lost"
    if newest["ClientStatus"] == "failed":
        return State.FAILED, None, cause(driver) or str(newest.get("ClientDescription", ""))
    if driver.get("State") == "running":
        return State.RUNNING, None, why_blocked(evaluations)
    return State.QUEUED, None, last_event(driver)


def _was_stopped(full: Mapping[str, Any], driver: Mapping[str, Any]) -> bool:
    return bool(full["Stop"]) and any(event["Type"] in ("Killing", "Killed") for event in driver["Events"])


def exit_code(task: Mapping[str, Any]) -> int | None:
    """Return what a task ended with the last time; None where it has not."""
    codes = [event["ExitCode"] for event in task.get("Events") or [] if event["Type"] == "Terminated"]
    return int(codes[-1]) if codes else None


def cause(task: Mapping[str, Any]) -> str:
    """Return why a task failed, in words."""
    events = task.get("Events") or []
    out_of_memory = any(event["Details"].get("oom_killed") == "true" for event in events)
    return why(exit_code(task), out_of_memory=out_of_memory) or last_event(task)


def last_event(task: Mapping[str, Any]) -> str:
    """Return what Nomad says last of why a task does not run."""
    for event in reversed(task.get("Events") or []):
        if event["Type"] in ("Driver Failure", "Setup Failure", "Failed Validation", "Template", "Driver"):
            return str(event["DisplayMessage"])
    return ""


def why_blocked(evaluations: Iterable[Mapping[str, Any]]) -> str:
    """Return what a job waits for that no host has free; empty where it does not."""
    for evaluation in evaluations:
        if evaluation["Status"] == "blocked":
            lacks = {
                dimension
                for metrics in (evaluation.get("FailedTGAllocs") or {}).values()
                for dimension in (metrics.get("DimensionExhausted") or {})
            }
            return f"waits for room: {', '.join(sorted(lacks)) or 'no host is eligible'}"
    return ""


def duration(task: Mapping[str, Any], now: float) -> float:
    """Return for how many seconds a task has run."""
    started, finished = _time(task.get("StartedAt")), _time(task.get("FinishedAt"))
    return max(0.0, (finished or now) - started) if started else 0.0


def _time(text: str | None) -> float:
    """Return seconds since the epoch of "2026-11-24T06:00:00.123456789Z"; 0 for none."""
    if not text or text.startswith("0001"):
        return 0.0
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
    return seconds + float(f"0.{fraction or 0}")


def tasks(allocations: Iterable[Mapping[str, Any]]) -> Iterable[TaskStatus]:
    """Yield the tasks of a job, group by group."""
    for each in sorted(allocations, key=lambda each: (each["TaskGroup"], each["CreateIndex"], each["Name"])):
        index = each["Name"].rpartition("[")[2].rstrip("]")
        for name, task in sorted((each["TaskStates"] or {}).items()):
            shown = name if each["TaskGroup"] == HEAD else f"{name}-{index}"
            state = _TASK_STATES[task["State"]]
            if state is State.SUCCEEDED and task["Failed"]:
                state = State.FAILED
            reason = cause(task) if state is State.FAILED else ""
            yield TaskStatus(shown, each["NodeName"], state, exit_code(task), reason)


_TASK_STATES = {"pending": State.QUEUED, "running": State.RUNNING, "dead": State.SUCCEEDED}


def _heads(allocations: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(
        (each for each in allocations if each["TaskGroup"] == HEAD), key=lambda each: int(each["CreateIndex"])
    )


def _task(allocation: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (allocation["TaskStates"] or {}).get(name, {})
    return found
