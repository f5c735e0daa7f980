"""What Nomad's answers mean, in the words that both engines share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cloudmesh.cluster.model import JobStatus, Node, Role, State, TaskStatus
from cloudmesh.cluster.nomad.config import SERVER_POOL
from cloudmesh.cluster.nomad.jobs import HEAD, MASTER
from cloudmesh.cluster.nomad.tasks import CORE, DIGEST, FIRST, NAME
from cloudmesh.cluster.nomad.words import cause, duration, exit_code, last_event, time_of, timed_out, why_blocked

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


def leaders(full: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]]) -> list[Leader]:
    """Return the tasks of a job's first part that have a place, in their order."""
    group = full["TaskGroups"][0]
    name = next(task["Name"] for task in group["Tasks"] if not task.get("Lifecycle"))
    its = (each for each in allocations if each["TaskGroup"] == group["Name"])
    newest = {each["Name"]: each for each in sorted(its, key=lambda each: int(each["CreateIndex"]))}
    return [Leader(name, each, _task(each, name)) for each in sorted(newest.values(), key=_index)]


def outputs(full: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return allocation and task of those whose output is the job's: of each leader the newest that has started."""
    started = [
        each
        for each in allocations
        for leader in leaders(full, [each])
        if leader.task.get("StartedAt") and leader.allocation is each
    ]
    return [(str(leader.allocation["ID"]), leader.name) for leader in leaders(full, started)]


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
    leading = leaders(full, allocations)
    state, code, reason = _ended(full, leading) or _going(full, leading, evaluations)
    return JobStatus(
        id=full["ID"],
        name=full["Meta"].get(NAME, full["ID"]),
        state=state,
        submitted=full["SubmitTime"] / _NANOSECONDS,
        duration=max((duration(leader.task, now) for leader in leading), default=0.0),
        exit_code=code,
        reason=reason,
        digest=full["Meta"].get(DIGEST, ""),
        tasks=tuple(tasks(allocations)),
    )


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
    failed = [leader for leader in by_themselves if exit_code(leader.task) != 0 or leader.task["Failed"]]
    if failed:
        first = min(failed, key=lambda leader: time_of(leader.task.get("FinishedAt")))
        which = f"{_shown(first.allocation, first.name)}: " if len(leading) > 1 else ""
        return State.FAILED, exit_code(first.task), f"{which}{cause(first.task)}"
    if leading and len(by_themselves) == full["TaskGroups"][0]["Count"]:
        return State.SUCCEEDED, 0, ""
    return (State.STOPPED, None, "stopped on request") if full["Stop"] else None


def _ended_by_itself(full: Mapping[str, Any], task: Mapping[str, Any]) -> bool:
    if task.get("State") != "dead" or not task.get("StartedAt"):
        return False
    killed = any(event["Type"] in ("Killing", "Killed") for event in task["Events"])
    return timed_out(task) or not (full["Stop"] and killed)


def _going(full: Mapping[str, Any], leading: Sequence[Leader], evaluations: Sequence[Mapping[str, Any]]) -> Outcome:
    """Return what a job does whose leaders have not all ended by themselves."""
    for leader in leading:
        newest = leader.allocation
        if newest["ClientStatus"] in ("lost", "unknown"):
            state = State.FAILED if full["Status"] == "dead" else State.UNKNOWN
            return state, None, f"its host {newest['NodeName']} was lost"
        if newest["ClientStatus"] == "failed":
            return State.FAILED, None, cause(leader.task) or str(newest.get("ClientDescription", ""))
    if any(leader.task.get("State") == "running" for leader in leading):
        return State.RUNNING, None, why_blocked(evaluations)
    if not leading:
        return State.QUEUED, None, why_blocked(evaluations)
    said = (last_event(leader.task) for leader in leading)
    return State.QUEUED, None, next(filter(None, said), "") or why_blocked(evaluations)


def tasks(allocations: Iterable[Mapping[str, Any]]) -> Iterable[TaskStatus]:
    """Yield the tasks of a job, group by group."""
    for each in sorted(allocations, key=lambda each: (each["TaskGroup"], each["CreateIndex"], each["Name"])):
        for name, task in sorted((each["TaskStates"] or {}).items()):
            state = _TASK_STATES[task["State"]]
            if state is State.SUCCEEDED and (task["Failed"] or timed_out(task)):
                state = State.FAILED
            reason = cause(task) if state is State.FAILED else ""
            yield TaskStatus(_shown(each, name), each["NodeName"], state, exit_code(task), reason)


def started(allocations: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the name of the task, and the allocation, of all that have started; the master is no task of the job's.

    Of a task that was started anew elsewhere, the older ones have the number of the try behind their name.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in sorted(allocations, key=lambda each: -int(each["CreateIndex"])):
        names = [name for name, task in (each["TaskStates"] or {}).items() if task.get("StartedAt")]
        # Spark's head: the driver, or the master alone where the driver never ran.
        leading = [name for name in sorted(names) if name != MASTER]
        if leading:
            found.setdefault(_shown(each, leading[0]), []).append(each)
    return [
        (name if not at else f"{name}-try-{len(its) - at}", each)
        for name, its in sorted(found.items())
        for at, each in enumerate(its)
    ]


_TASK_STATES = {"pending": State.QUEUED, "running": State.RUNNING, "dead": State.SUCCEEDED}


def _shown(allocation: Mapping[str, Any], name: str) -> str:
    """Return a task's name as the job's tasks have it: "driver", "worker-2"."""
    group = allocation["TaskGroup"]
    if group == HEAD != name:
        return name
    return str(group) if group.startswith(f"{name}-") else f"{name}-{_index(allocation)}"


def _index(allocation: Mapping[str, Any]) -> int:
    return int(allocation["Name"].rpartition("[")[2].rstrip("]"))


def _task(allocation: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (allocation["TaskStates"] or {}).get(name, {})
    return found
