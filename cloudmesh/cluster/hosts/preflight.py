"""Checks whether hosts can become part of a cluster, and finds all faults before any host is changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Facts, Host
from cloudmesh.cluster.hosts import marker


@dataclass(frozen=True)
class Needs:
    """What a host must have.

    Attributes:
        ports: TCP ports that must be free.
        memory_mb: MiB of memory, at least.
        disk_mb: free MiB where the cluster's data goes, at least.
        max_skew: seconds by which the host's clock may differ from the operator's.
        os: the operating systems that the host scripts support.
        packages: what the host scripts install.
        processors: those for which the engines' programs are to be had, as Debian names them.
        networks: those of the cluster's own, as CIDR by what they are for, to which a host must have no route.
    """

    ports: tuple[int, ...]
    memory_mb: int
    disk_mb: int
    max_skew: float = 30.0
    os: tuple[str, ...] = ("debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04")
    packages: tuple[str, ...] = ()
    processors: tuple[str, ...] = ("amd64", "arm64")
    networks: Mapping[str, str] = field(default_factory=dict)


def check(
    facts: Mapping[Host, Facts],
    needs: Needs,
    cluster: str,
    cluster_id: str,
    processor: str = "",
    servers: Collection[str] = (),
) -> dict[str, str]:
    """Return the faults of hosts, with their remedies, by the host as the user wrote it; empty if no host has faults.

    Taken ports and a full disk are no faults of a host that belongs to this cluster already: the cluster uses them.

    Args:
        facts: the facts of every host.
        needs: what every host must have.
        cluster: name of the cluster that the hosts will join.
        cluster_id: id of that cluster, which tells it from other clusters of the same name.
        processor: that of the hosts which the cluster has beside these; empty: it has no others.
        servers: addresses of the cluster's servers, whose API and registry are reached through SSH.
    """
    faults_by_host: dict[str, str] = {}
    for host, host_facts in facts.items():
        faults = [
            *_find_own_faults(host_facts, needs),
            *_find_cluster_faults(host_facts, needs, cluster, cluster_id),
            *_find_processor_faults(host, facts, needs, processor),
            *_find_conflicts(host, facts),
        ]
        if host_facts.address in servers and not host_facts.forwards:
            faults.append(
                "its sshd opens no forwarding, by which servers are reached: set AllowTcpForwarding yes in its "
                "sshd_config, or look for DisableForwarding, PermitOpen, and restrict in authorized_keys"
            )
        if abs(host_facts.skew) > needs.max_skew:
            faults.append(_explain_skew(host_facts, facts, needs))
        if faults:
            faults_by_host[str(host)] = "; ".join(faults)
    return faults_by_host


def _find_own_faults(facts: Facts, needs: Needs) -> Iterator[str]:
    """Yield the faults that a host has whatever cluster it will join."""
    if not facts.root:
        yield "not root: log in as root, or as a user who may use sudo"
    if facts.os not in needs.os:
        yield f"unsupported operating system {facts.os}: use one of {', '.join(needs.os)}"
    elif not facts.apt:
        yield "there is no apt-get: packages cannot be installed"
    if facts.systemd_silent:
        yield "systemd does not answer in 10 s: see what it waits for (systemctl list-jobs), or boot the host again"
    elif not facts.systemd:
        yield "systemd is not running as PID 1: boot the host with systemd"
    if facts.memory_mb < needs.memory_mb:
        yield f"too little memory: {facts.memory_mb} MiB, {needs.memory_mb} MiB are needed"
    if not facts.address:
        yield "no IPv4 address that other hosts could reach it by: give it one, or choose one by --interface"


def _find_processor_faults(host: Host, all_facts: Mapping[Host, Facts], needs: Needs, processor: str) -> Iterator[str]:
    """Yield the fault that there are no programs for a host's processor, or not the same as for the other hosts."""
    arch = all_facts[host].arch
    if arch not in needs.processors:
        yield f"unsupported processor {arch}: the engine's programs are to be had for {' and '.join(needs.processors)}"
        return
    fit = [(str(other), facts.arch) for other, facts in all_facts.items() if facts.arch in needs.processors]
    first, of_first = ("the cluster's hosts", processor) if processor else fit[0]
    if arch != of_first:
        verb = "have" if processor else "has"
        yield f"its processor is {arch}, and {first} {verb} {of_first}: one cluster has one kind, make another of these"


def _find_cluster_faults(facts: Facts, needs: Needs, cluster: str, cluster_id: str) -> Iterator[str]:
    """Yield the fault that a host belongs to another cluster, or what a host of no cluster lacks for this one."""
    if not facts.marker:
        yield from _find_lacking_room(facts, needs)
        yield from _find_clashes(facts, needs)
        return
    try:
        host_marker = marker.loads(facts.marker)
    except ClusterError as error:
        yield f"{error}: remove that file if the host belongs to no cluster"
        return
    other = host_marker.cluster
    if other != cluster:
        yield f"belongs to the cluster {other}: take it out first by `cms cluster remove -n {other} HOST`"
    elif host_marker.id != cluster_id:
        first_server = host_marker.servers[0] if host_marker.servers else "unknown"
        yield (
            f"belongs to another cluster called {other} (id {host_marker.id}, first server {first_server}): "
            "choose another name, or take it out of that one first"
        )


def _find_lacking_room(facts: Facts, needs: Needs) -> Iterator[str]:
    """Yield what a host lacks of free disk space, free ports and packages that may be installed."""
    if facts.disk_free_mb < needs.disk_mb:
        where = f" on {facts.disk}" if facts.disk else ""
        yield f"too little disk space: {facts.disk_free_mb} MiB are free{where}, {needs.disk_mb} MiB are needed"
    if busy := sorted(set(facts.busy_ports) & set(needs.ports)):
        shown = f"port {busy[0]} is" if len(busy) == 1 else f"ports {', '.join(map(str, busy))} are"
        yield f"{shown} taken: stop what listens there (ss -ltnp shows it)"
    if held := " ".join(package for package in facts.held if package in needs.packages):
        shown = f"packages {held} are" if " " in held else f"package {held} is"
        yield f"the {shown} on hold: apt-mark unhold {held}"


def _find_clashes(facts: Facts, needs: Needs) -> Iterator[str]:
    """Yield the routes of a host that lead where the cluster has networks of its own."""
    for name, network in needs.networks.items():
        for route in filter(lambda route: overlaps(route, network), facts.routes):
            yield (
                f"what it reaches as {route} is within the network {network} that this cluster has for its {name}: "
                "take that route away, or make a cluster that has this host from its beginning: it gets another network"
            )


def overlaps(route: str, network: str) -> bool:
    """Return whether a route of `Facts.routes` and a network, as CIDR, have an address in common.

    A route to half of the world is a default route, as VPNs write it.
    """
    leads_to = IPv4Network(route.partition(" ")[0], strict=False)
    return leads_to.prefixlen > 1 and leads_to.overlaps(IPv4Network(network))


def _find_conflicts(host: Host, all_facts: Mapping[Host, Facts]) -> Iterator[str]:
    """Yield the faults that a host has because of other hosts: they are the same machine, or have the same address."""
    facts = all_facts[host]
    others = [(str(other), other_facts) for other, other_facts in all_facts.items() if other != host]
    twins = [name for name, other in others if other.machine_id == facts.machine_id]
    if twins:
        yield f"is the same machine as {', '.join(twins)}: name it once"
    same_address = [
        name
        for name, other in others
        if other.address and other.address == facts.address and other.machine_id != facts.machine_id
    ]
    if same_address:
        yield f"has the same address {facts.address} as {', '.join(same_address)}: choose the right one by --interface"


def _explain_skew(facts: Facts, all_facts: Mapping[Host, Facts], needs: Needs) -> str:
    """Return the fault of a wrong clock; where all hosts agree, the operator's clock is taken to be wrong."""
    skews = [other.skew for other in all_facts.values()]
    direction = "ahead of" if facts.skew > 0 else "behind"
    cause = f"its clock is {abs(facts.skew):.0f} s {direction} this machine's ({needs.max_skew:.0f} s are allowed)"
    if len(skews) > 1 and max(skews) - min(skews) <= needs.max_skew:
        return f"{cause}: the hosts agree with each other, so set this machine's clock"
    return f"{cause}: set it, or let it be set (timedatectl set-ntp true)"
