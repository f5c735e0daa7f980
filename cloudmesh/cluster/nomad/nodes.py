"""What Nomad says of its hosts, in the words that both engines share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cloudmesh.cluster.model import Node, Role
from cloudmesh.cluster.nomad.config import SERVER_POOL
from cloudmesh.cluster.nomad.tasks import CORE


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
