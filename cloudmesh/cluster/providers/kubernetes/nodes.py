"""What Kubernetes says of its nodes, in the words that both engines share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.providers.kubernetes.cluster_manifests import NETWORK_NAMESPACE
from cloudmesh.cluster.providers.kubernetes.pod_spec import CORE, JOBS_NAMESPACE
from cloudmesh.cluster.providers.kubernetes.quantity import amount

# Annotations by which a node says how the operator reaches it.
HOST, CONTACT, HOST_KEY = "cloudmesh/host", "cloudmesh/contact", "cloudmesh/host-key"
_SERVER = "node-role.kubernetes.io/control-plane"
_SYSTEM = ("kube-system", NETWORK_NAMESPACE)
_MIB = 1 << 20


def introduction(host: str, contact: str, host_key: str) -> dict[str, Any]:
    """Return what a host says of its own node."""
    return {"metadata": {"annotations": {HOST: host, CONTACT: contact, HOST_KEY: host_key}}}


def operator_name(full: Mapping[str, Any]) -> str:
    """Return what the operator calls a host."""
    its = full["metadata"]
    return str(its.get("annotations", {}).get(HOST, its["name"]))


def parse_node(full: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Node:
    """Return a host as Kubernetes describes it.

    Args:
        full: the node.
        pods: of all nodes, that have not ended.
    """
    metadata, spec, its = full["metadata"], full["spec"], full["status"]
    annotations = metadata.get("annotations", {})
    takes_jobs = not any(taint["key"] == _SERVER for taint in spec.get("taints", []))
    is_server = _SERVER in metadata.get("labels", {})
    here = [pod for pod in pods if pod["spec"].get("nodeName") == metadata["name"]]
    cores, memory = _left(its["allocatable"], [pod for pod in here if pod["metadata"]["namespace"] in _SYSTEM])
    free_cores, free_memory = _left(its["allocatable"], here)
    cores = min(cores, float(amount(its["capacity"]["cpu"])))
    return Node(
        name=operator_name(full),
        address=_address(its),
        roles=(Role.SERVER,) * is_server + (Role.WORKER,) * takes_jobs,
        status=_status(full, here, is_server and not _has_dns(metadata["name"], pods)),
        cores=cores * takes_jobs,
        memory_mb=memory * takes_jobs,
        free_cores=min(cores, free_cores) * takes_jobs,
        free_memory_mb=min(memory, free_memory) * takes_jobs,
        version=its.get("nodeInfo", {}).get("kubeletVersion", "").lstrip("v"),
        contact=annotations.get(CONTACT, ""),
        host_key=annotations.get(HOST_KEY, ""),
        id=metadata["name"],
    )


def _left(allocatable: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> tuple[float, int]:
    """Return the cores, in those of jobs, and MiB that `pods` leave."""
    cpu, memory = amount(allocatable["cpu"]), amount(allocatable["memory"])
    for pod in pods:
        for container in pod["spec"]["containers"]:
            asked = container.get("resources", {}).get("requests", {})
            cpu -= amount(asked.get("cpu", 0))
            memory -= amount(asked.get("memory", 0))
    return max(0.0, round(cpu * 1000 / CORE, 2)), max(0, int(memory / _MIB))


def _status(full: Mapping[str, Any], here: Iterable[Mapping[str, Any]], lacks_dns: bool) -> str:
    conditions = {each["type"]: each["status"] for each in full["status"].get("conditions", [])}
    if conditions.get("Ready") != "True":
        return "down"
    if HOST not in full["metadata"].get("annotations", {}):
        return "joining"
    if conditions.get("NetworkUnavailable") != "False":
        return "no network"
    if full["spec"].get("unschedulable"):
        return "draining" if any(pod["metadata"]["namespace"] == JOBS_NAMESPACE for pod in here) else "drained"
    return "no DNS" if lacks_dns else "ready"


def _has_dns(server: str, pods: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the cluster's names are resolved, which jobs need: by the server's own name server where it has one."""
    all_of_them = [pod for pod in pods if pod["metadata"].get("labels", {}).get("k8s-app") == "kube-dns"]
    its_own = [pod for pod in all_of_them if pod["spec"].get("nodeName") == server]
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for pod in its_own or all_of_them
        for condition in pod["status"].get("conditions", [])
    )


def _address(its: Mapping[str, Any]) -> str:
    return next((each["address"] for each in its.get("addresses", []) if each["type"] == "InternalIP"), "")
