"""What Nomad says of its hosts, in the words that both engines share. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.providers.nomad.api_client import call
from cloudmesh.cluster.providers.nomad.bootstrap import SERVER_POOL
from cloudmesh.cluster.providers.nomad.job_spec import CORE, DIGEST
from cloudmesh.cluster.providers.nomad.task_group_job import HOST

if TYPE_CHECKING:
    import nomad


def read_server_status(gossip: str, *, votes: bool) -> str:
    """Return the status of a host as a server.

    Args:
        gossip: what the others say of it.
        votes: whether it counts for the majority; a new one does so only after some seconds.
    """
    if gossip != "alive":
        return "down"
    return "ready" if votes else "joining"


def read_node(full: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]], servers: Mapping[str, str]) -> Node:
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


_POLL_SECONDS = 0.4
# A deadline would end the drivers, and Nomad would run them a second time elsewhere.
_WITHOUT_END = {"Deadline": 0, "IgnoreSystemJobs": False}


def drain(client: nomad.Nomad, node: Node, seconds: float) -> None:
    """Send `node` no more jobs, move elsewhere what can move, and wait for what cannot, such as drivers.

    Raises:
        ApiError: a service is bound to it, or a job still runs on it after so many seconds; it takes jobs as before.
    """
    bound = sorted(
        {str(each["JobID"]) for each in _live_allocations(client, node) if _is_service(each) and is_bound(each)}
    )
    if bound:
        raise ApiError(f"services are bound to it, and have data there: {', '.join(bound)}: stop them first")
    call(lambda: client.node.drain_node_with_spec(node.id, drain_spec=_WITHOUT_END))
    deadline = time.monotonic() + seconds
    moved: set[str] = set()
    while live := _live_allocations(client, node):
        for each in live:
            # By itself, Nomad leaves a batch job's tasks where they are; Spark goes on without one worker.
            if can_move(each) and each["ID"] not in moved:
                call(partial(client.allocation.stop_allocation, each["ID"]))
                moved.add(each["ID"])
        if time.monotonic() > deadline:
            call(lambda: client.node.drain_node_with_spec(node.id, drain_spec=None, mark_eligible=True))
            ids = ", ".join(sorted({str(each["JobID"]) for each in live}))
            raise ApiError(f"after {seconds:.0f} s these jobs still run on it: {ids}")
        time.sleep(_POLL_SECONDS)


def _live_allocations(client: nomad.Nomad, node: Node) -> list[Mapping[str, Any]]:
    found = call(lambda: client.node.get_allocations(node.id))
    return [each for each in found if each["ClientStatus"] in ("pending", "running")]


def can_move(allocation: Mapping[str, Any]) -> bool:
    """Return whether a task of ours, of a job with an end, is none of those whose end is the job's."""
    job = allocation["Job"]
    if DIGEST not in (job["Meta"] or {}) or _is_service(allocation):
        return False
    return bool(allocation["TaskGroup"] != job["TaskGroups"][0]["Name"]) and not is_bound(allocation)


def _is_service(allocation: Mapping[str, Any]) -> bool:
    return bool(allocation["Job"]["Type"] == "service")


def is_bound(allocation: Mapping[str, Any]) -> bool:
    """Return whether a task can be on no other host."""
    groups = [each for each in allocation["Job"]["TaskGroups"] if each["Name"] == allocation["TaskGroup"]]
    return any(each["LTarget"] == HOST for group in groups for each in group["Constraints"] or [])
