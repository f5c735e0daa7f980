"""Translates what Kubernetes reports about its nodes to `Node`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.providers.base import SILENT
from cloudmesh.cluster.providers.kubernetes.cluster_manifests import NETWORK_NAMESPACE
from cloudmesh.cluster.providers.kubernetes.pod_spec import CORE, JOBS_NAMESPACE
from cloudmesh.cluster.providers.kubernetes.pod_status import parse_time

# Annotations of a node: what the operator calls the host, how the operator reaches it by SSH, and its SSH host key.
HOST, CONTACT, HOST_KEY = "cloudmesh/host", "cloudmesh/contact", "cloudmesh/host-key"
_SERVER = "node-role.kubernetes.io/control-plane"
_SYSTEM_NAMESPACES = ("kube-system", NETWORK_NAMESPACE)
_MIB = 1 << 20
# A lease is renewed every 10 s, and on a host with much to do later.
_SILENT_SECONDS = 25.0


def build_annotations_patch(host: str, contact: str, host_key: str) -> dict[str, Any]:
    """Return the patch that a host applies to its own node; see the annotations above."""
    return {"metadata": {"annotations": {HOST: host, CONTACT: contact, HOST_KEY: host_key}}}


def operator_name(node: Mapping[str, Any]) -> str:
    """Return what the operator calls the host of a node; the name of the node until the host has said it."""
    metadata = node["metadata"]
    return str(metadata.get("annotations", {}).get(HOST, metadata["name"]))


def is_server(node: Mapping[str, Any]) -> bool:
    """Return whether a node has a part of the control plane."""
    return _SERVER in node["metadata"].get("labels", {})


def find_silent(leases: Iterable[Mapping[str, Any]], now: float) -> set[str]:
    """Return the names of the nodes whose kubelet has not renewed its lease for long: it may be starting, or gone.

    Kubernetes calls them ready for 40 s, and where its API has just started for as long again. What a lease says of
    its renewal is by the host's clock, which may be wrong; when it was changed is by that of the API.

    Args:
        leases: of all nodes.
        now: the cluster's time, in seconds since the epoch.
    """
    silent = set()
    for lease in leases:
        changes = [entry.get("time") for entry in lease["metadata"].get("managedFields", [])]
        if changes and now - max(map(parse_time, changes)) > _SILENT_SECONDS:
            silent.add(lease["metadata"]["name"])
    return silent


def parse_node(
    node: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    apis: Collection[str] | None = None,
    silent: Collection[str] = (),
) -> Node:
    """Return a node and what is free on it.

    Args:
        node: the node as Kubernetes describes it.
        pods: the pods of all nodes that have not ended; only they take resources.
        apis: the addresses at which an API server runs; None: all that should.
        silent: the names of nodes of which nothing was heard lately.
    """
    metadata, spec, status = node["metadata"], node["spec"], node["status"]
    annotations = metadata.get("annotations", {})
    takes_jobs = not any(taint["key"] == _SERVER for taint in spec.get("taints", []))
    own_pods = [pod for pod in pods if pod["spec"].get("nodeName") == metadata["name"]]
    system_pods = [pod for pod in own_pods if pod["metadata"]["namespace"] in _SYSTEM_NAMESPACES]
    cores, memory = _subtract_requests(status["allocatable"], system_pods)
    free_cores, free_memory = _subtract_requests(status["allocatable"], own_pods)
    cores = min(cores, _parse_quantity(status["capacity"]["cpu"]))
    server, address = is_server(node), internal_address(node)
    node_status = _describe_status(node, own_pods, server and not _has_dns(metadata["name"], pods))
    if node_status == "ready" and server and apis is not None and address not in apis:
        node_status = "no API"
    if node_status in ("ready", "draining", "drained") and metadata["name"] in silent:
        node_status = SILENT
    return Node(
        name=operator_name(node),
        address=address,
        roles=(Role.SERVER,) * server + (Role.WORKER,) * takes_jobs,
        status=node_status,
        cores=cores * takes_jobs,
        memory_mb=memory * takes_jobs,
        free_cores=min(cores, free_cores) * takes_jobs,
        free_memory_mb=min(memory, free_memory) * takes_jobs,
        version=status.get("nodeInfo", {}).get("kubeletVersion", "").lstrip("v"),
        contact=annotations.get(CONTACT, ""),
        host_key=annotations.get(HOST_KEY, ""),
        id=metadata["name"],
        node=metadata["name"],
    )


def _subtract_requests(allocatable: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> tuple[float, int]:
    """Return the cores, as jobs count them (see `pod_spec.CORE`), and the MiB of memory that `pods` leave."""
    cpu, memory = _parse_quantity(allocatable["cpu"]), _parse_quantity(allocatable["memory"])
    for pod in pods:
        for container in pod["spec"]["containers"]:
            requests = container.get("resources", {}).get("requests", {})
            cpu -= _parse_quantity(requests.get("cpu", 0))
            memory -= _parse_quantity(requests.get("memory", 0))
    return max(0.0, round(cpu * 1000 / CORE, 2)), max(0, int(memory / _MIB))


def _parse_quantity(text: str | int) -> float:
    """Return the number that "1500m" or "384Mi" stands for."""
    # Imported only here, as `provider.py` needs this module, but not the `kubernetes` package, which takes 0.2 s to
    # import. Whoever has a node to parse has imported it before; this module of it then costs nothing.
    from kubernetes.utils.quantity import parse_quantity

    return float(parse_quantity(text))


def is_ready(node: Mapping[str, Any]) -> bool:
    """Return whether a node's kubelet says that it is ready; jobs may need more."""
    return _read_conditions(node).get("Ready") == "True"


def _read_conditions(node: Mapping[str, Any]) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in node["status"].get("conditions", [])}


def _describe_status(node: Mapping[str, Any], own_pods: Iterable[Mapping[str, Any]], lacks_dns: bool) -> str:
    """Return the status of a node as users see it: "ready", or what is not as it should be."""
    conditions = _read_conditions(node)
    if conditions.get("Ready") != "True":
        return "down"
    if HOST not in node["metadata"].get("annotations", {}):
        return "joining"
    if conditions.get("NetworkUnavailable") != "False":
        return "no network"
    if node["spec"].get("unschedulable"):
        return "draining" if any(pod["metadata"]["namespace"] == JOBS_NAMESPACE for pod in own_pods) else "drained"
    return "no DNS" if lacks_dns else "ready"


def _has_dns(server: str, pods: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a name server of the cluster is ready, which jobs need.

    If a name server runs on the node `server`, this one must be ready; otherwise any.
    """
    dns_pods = [pod for pod in pods if pod["metadata"].get("labels", {}).get("k8s-app") == "kube-dns"]
    on_server = [pod for pod in dns_pods if pod["spec"].get("nodeName") == server]
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for pod in on_server or dns_pods
        for condition in pod["status"].get("conditions", [])
    )


def internal_address(node: Mapping[str, Any]) -> str:
    """Return the address by which the other hosts reach a node; empty until its kubelet has said it."""
    addresses = node["status"].get("addresses", [])
    return next((address["address"] for address in addresses if address["type"] == "InternalIP"), "")
