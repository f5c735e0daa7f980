"""Whether hosts can become part of a cluster: all that is wrong with each, told before any of them is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Facts, Host
from cloudmesh.cluster.hosts import marker


@dataclass(frozen=True)
class Needs:
    """What a host must have.

    Attributes:
        ports: TCP ports that must be free.
        memory_mb: MiB of memory.
        disk_mb: free MiB where the cluster's data goes.
        max_skew: seconds by which its clock may differ from the operator's.
        os: the operating systems that the host scripts know.
    """

    ports: tuple[int, ...]
    memory_mb: int
    disk_mb: int
    max_skew: float = 30.0
    os: tuple[str, ...] = ("debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04")


def check(facts: Mapping[Host, Facts], needs: Needs, cluster: str, cluster_id: str) -> dict[str, str]:
    """Return what is wrong, with the remedy, by the host as the user wrote it; empty where all hosts are good.

    A host that already belongs to this cluster may have its ports taken and its disk filled: by the cluster.

    Args:
        facts: what each host told of itself.
        needs: what each must have.
        cluster: name of the cluster that they are to join.
        cluster_id: its id, which tells it from another cluster of the same name.
    """
    causes: dict[str, str] = {}
    for host, its in facts.items():
        found = [
            *_own_faults(its, needs),
            *_cluster_faults(its, needs, cluster, cluster_id),
            *_faults_beside_others(host, facts),
        ]
        if abs(its.skew) > needs.max_skew:
            found.append(_skew(its, facts, needs))
        if found:
            causes[str(host)] = "; ".join(found)
    return causes


def _own_faults(its: Facts, needs: Needs) -> Iterator[str]:
    """What is wrong with a host whatever cluster it is for."""
    if not its.root:
        yield "not root: log in as root, or as a user who may use sudo"
    if its.os not in needs.os:
        yield f"unsupported operating system {its.os}: use one of {', '.join(needs.os)}"
    elif not its.apt:
        yield "there is no apt-get: packages cannot be installed"
    if not its.systemd:
        yield "systemd is not running as PID 1: boot the host with systemd"
    if its.memory_mb < needs.memory_mb:
        yield f"too little memory: {its.memory_mb} MiB, {needs.memory_mb} MiB are needed"
    if not its.address:
        yield "no IPv4 address that other hosts could reach it by: give it one, or choose one by --interface"


def _cluster_faults(its: Facts, needs: Needs, cluster: str, cluster_id: str) -> Iterator[str]:
    """What is wrong with the cluster that it belongs to, or with the room for this one."""
    if not its.marker:
        yield from _lack_of_room(its, needs)
        return
    try:
        found = marker.loads(its.marker)
    except ClusterError as error:
        yield f"{error}: remove that file if the host belongs to no cluster"
        return
    if found.cluster != cluster:
        yield f"belongs to the cluster {found.cluster}: take it out first (cms cluster remove -n {found.cluster} …)"
    elif found.id != cluster_id:
        yield (
            f"belongs to another cluster called {found.cluster} (id {found.id}, first server {_first(found.servers)}): "
            "choose another name, or take it out of that one first"
        )


def _first(servers: tuple[str, ...]) -> str:
    return servers[0] if servers else "unknown"


def _lack_of_room(its: Facts, needs: Needs) -> Iterator[str]:
    if its.disk_free_mb < needs.disk_mb:
        where = f" on {its.disk}" if its.disk else ""
        yield f"too little disk space: {its.disk_free_mb} MiB are free{where}, {needs.disk_mb} MiB are needed"
    if busy := sorted(set(its.busy_ports) & set(needs.ports)):
        shown = f"port {busy[0]} is" if len(busy) == 1 else f"ports {', '.join(map(str, busy))} are"
        yield f"{shown} taken: stop what listens there (ss -ltnp shows it)"


def _faults_beside_others(host: Host, facts: Mapping[Host, Facts]) -> Iterator[str]:
    """What is wrong with a host beside the others."""
    its = facts[host]
    twins = [str(other) for other, theirs in facts.items() if other != host and theirs.machine_id == its.machine_id]
    if twins:
        yield f"is the same machine as {', '.join(twins)}: name it once"
    same = [
        str(other)
        for other, theirs in facts.items()
        if theirs.address and theirs.address == its.address and theirs.machine_id != its.machine_id
    ]
    if same:
        yield f"has the same address {its.address} as {', '.join(same)}: choose the right one by --interface"


def _skew(its: Facts, facts: Mapping[Host, Facts], needs: Needs) -> str:
    skews = [theirs.skew for theirs in facts.values()]
    direction = "ahead of" if its.skew > 0 else "behind"
    cause = f"its clock is {abs(its.skew):.0f} s {direction} this machine's ({needs.max_skew:.0f} s are allowed)"
    if len(skews) > 1 and max(skews) - min(skews) <= needs.max_skew:
        return f"{cause}: the hosts agree with each other, so set this machine's clock"
    return f"{cause}: set it, or let it be set (timedatectl set-ntp true)"
