"""The cluster's hosts as Nomad describes them, and how one of them gets no more jobs, or is drained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.nomad.api_client import call
from cloudmesh.cluster.providers.nomad.bootstrap import SERVER_POOL
from cloudmesh.cluster.providers.nomad.job_spec import CORE, DIGEST
from cloudmesh.cluster.providers.nomad.task_group_job import HOST

if TYPE_CHECKING:
    import nomad


# Values of an allocation's "ClientStatus" while it takes part of its host's cores and memory.
_LIVE = ("pending", "running")


def read_server_status(gossip_status: str, *, is_voter: bool) -> str:
    """Return the status of a host as a server: "ready", "joining" or "down".

    Args:
        gossip_status: the status that the other servers report: "alive".
        is_voter: whether it counts for the majority; a new server does so only after some seconds.
    """
    if gossip_status != "alive":
        return "down"
    return "ready" if is_voter else "joining"


def read_node(node: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]], servers: Mapping[str, str]) -> Node:
    """Return a host as Nomad describes it.

    Args:
        node: Nomad's JSON of the node.
        allocations: of all jobs, with their resources.
        servers: the status of each server, by its address; see `read_server_status`.
    """
    address = node["Attributes"].get("unique.network.ip-address", "")
    resources, reserved = node["NodeResources"], node["ReservedResources"] or {}
    takes_jobs = node["NodePool"] != SERVER_POOL
    cores = resources["Cpu"]["CpuShares"] / CORE * takes_jobs
    memory_mb = (resources["Memory"]["MemoryMB"] - reserved.get("Memory", {}).get("MemoryMB", 0)) * takes_jobs
    used_cpu, used_memory_mb = _sum_resources(node["ID"], allocations)
    meta = node["Meta"] or {}
    # A server of which the others say nothing is one that is down, and no worker.
    is_server = address in servers or meta.get("cms_role") == Role.SERVER.value
    roles = (Role.SERVER,) * is_server + (Role.WORKER,) * takes_jobs
    return Node(
        name=operator_name(node),
        address=address,
        roles=roles,
        status=_read_node_status(node, servers.get(address, "down" if is_server else "ready")),
        cores=cores,
        memory_mb=memory_mb,
        free_cores=max(0.0, round(cores - used_cpu / CORE, 2)),
        free_memory_mb=max(0, memory_mb - used_memory_mb),
        version=node["Attributes"].get("nomad.version", ""),
        contact=meta.get("cms_contact", ""),
        host_key=meta.get("cms_host_key", ""),
        id=node["ID"],
        node=node["Name"],
    )


def operator_name(node: Mapping[str, Any]) -> str:
    """Return what the operator calls the host of a node; clusters of earlier versions have it as the node's name."""
    return str((node["Meta"] or {}).get("cms_host") or node["Name"])


def read_status(node: Mapping[str, Any]) -> str:
    """Return a node's status as Nomad has it, but that of one that is silent is "down" whatever ran there."""
    return "down" if node["Status"] == "disconnected" else str(node["Status"])


def _read_node_status(node: Mapping[str, Any], server_status: str) -> str:
    if node["Status"] == "ready" and server_status != "ready":
        return server_status
    if node["Status"] == "ready" and node["SchedulingEligibility"] != "eligible":
        return "draining" if node.get("DrainStrategy") else "drained"
    if node["Status"] == "ready" and not node["Drivers"].get("docker", {}).get("Healthy"):
        return "no docker"
    return read_status(node)


def _sum_resources(node_id: str, allocations: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Return the CPU shares and the MiB that jobs take on a node."""
    cpu = memory_mb = 0
    for allocation in allocations:
        if allocation["NodeID"] == node_id and allocation["ClientStatus"] in _LIVE:
            for task in allocation["AllocatedResources"]["Tasks"].values():
                cpu += task["Cpu"]["CpuShares"]
                memory_mb += task["Memory"]["MemoryMB"]
    return cpu, memory_mb


# A deadline would end the drivers, and Nomad would run them a second time elsewhere.
_WITHOUT_DEADLINE = {"Deadline": 0, "IgnoreSystemJobs": False}


def cordon(client: nomad.Nomad, node: Node) -> None:
    """Send `node` no more jobs; those that run there stay."""
    call(lambda: client.node.eligible_node(node.id, eligible=False))


def begin_drain(client: nomad.Nomad, node: Node) -> None:
    """Send `node` no more jobs; ApiError where a service is bound to it."""
    allocations = _list_live_allocations(client, node)
    if bound := [str(entry["JobID"]) for entry in allocations if _is_service(entry) and is_bound(entry)]:
        raise outcomes.services_bound(bound)
    call(lambda: client.node.drain_node_with_spec(node.id, drain_spec=_WITHOUT_DEADLINE))


def move_jobs(client: nomad.Nomad, node: Node) -> tuple[str, ...]:
    """Move away the tasks that can move; return the ids of the jobs that still run there, such as those with drivers.

    By itself, Nomad leaves a batch job's tasks where they are; Spark goes on without one worker.
    """
    allocations = _list_live_allocations(client, node)
    for allocation in allocations:
        if can_move(allocation) and allocation["DesiredStatus"] == "run":
            call(partial(client.allocation.stop_allocation, allocation["ID"]))
    return tuple(sorted({str(allocation["JobID"]) for allocation in allocations}))


def end_drain(client: nomad.Nomad, node: Node) -> None:
    """Let `node` take jobs again."""
    call(lambda: client.node.drain_node_with_spec(node.id, drain_spec=None, mark_eligible=True))


def _list_live_allocations(client: nomad.Nomad, node: Node) -> list[Mapping[str, Any]]:
    allocations = call(lambda: client.node.get_allocations(node.id))
    return [allocation for allocation in allocations if allocation["ClientStatus"] in _LIVE]


def can_move(allocation: Mapping[str, Any]) -> bool:
    """Return whether tasks can be ended here and started elsewhere without harm to their job.

    They can where their job was made of a job file and has an end, they are not in the group whose end is the job's,
    and they are not bound to their host.
    """
    job = allocation["Job"]
    if DIGEST not in (job["Meta"] or {}) or _is_service(allocation):
        return False
    return bool(allocation["TaskGroup"] != job["TaskGroups"][0]["Name"]) and not is_bound(allocation)


def _is_service(allocation: Mapping[str, Any]) -> bool:
    return bool(allocation["Job"]["Type"] == "service")


def is_bound(allocation: Mapping[str, Any]) -> bool:
    """Return whether the tasks of an allocation can run on no other host."""
    groups = [group for group in allocation["Job"]["TaskGroups"] if group["Name"] == allocation["TaskGroup"]]
    return any(constraint["LTarget"] == HOST for group in groups for constraint in group["Constraints"] or [])
