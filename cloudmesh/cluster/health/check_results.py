"""What a test of a cluster has found, told as rows: the bounds, and what to do where one is passed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from cloudmesh.cluster.core.model import Node, Volume

OK, FAILED, SKIPPED = "ok", "failed", "skipped"
_DISK_MB, _DISK_SHARE = 1024, 0.05
_MEMORY_MB = 256
_SKEW_SECONDS = 5.0
_MiB_IN_GIB = 1024


@dataclass(frozen=True)
class CheckResult:
    """One check of one host.

    Attributes:
        check: "disk", "network", "storage NAME", …
        host: its name; of what concerns two hosts, the one that saw it; "-": the cluster.
        result: "ok", "failed" or "skipped".
        cause: why it failed or was skipped; what was found where it is well.
        remedy: what to do about it.
    """

    check: str
    host: str
    result: str
    cause: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class HostHealth:
    """What a host says of itself (`cloudmesh/images/host/proof.sh`).

    Attributes:
        skew: its clock minus the operator's, in seconds.
        memory: MiB available, and MiB in all.
        disks: free MiB, MiB in all and mount point of each.
        registry: why the cluster's registry does not answer it; empty where it does.
        runtime: why its container runtime does not answer; empty where it does.
    """

    skew: float
    memory: tuple[int, int]
    disks: tuple[tuple[int, int, str], ...]
    registry: str = ""
    runtime: str = ""

    @property
    def runs_tasks(self) -> bool:
        """Whether it is worth while to send it a task."""
        return not self.registry and not self.runtime and not any(map(_full, self.disks))


def parse(facts: Mapping[str, str], asked_at: float) -> HostHealth:
    """Return what the host script told; KeyError or ValueError where that makes no sense."""
    free, total = facts["memory"].split()
    disks = (line.split(maxsplit=2) for line in facts.get("disk", "").splitlines())
    return HostHealth(
        skew=float(facts["clock"]) - asked_at,
        memory=(int(free), int(total)),
        disks=tuple((int(free), int(total), mount) for free, total, mount in disks),
        registry=facts["registry"].strip(),
        runtime=facts["runtime"].strip(),
    )


def check_engine(node: Node, host: str) -> CheckResult:
    """Tell whether the engine calls a host ready, and what room it has."""
    if node.status != "ready":
        return CheckResult(
            "engine", host, FAILED, f"the engine calls it {node.status}", "start the host and its agent, or remove it"
        )
    return CheckResult("engine", host, OK, f"{node.free_cores:g} cores and {node.free_memory_mb} MiB are free for jobs")


def check_host(name: str, health: HostHealth, skews: Sequence[float]) -> Iterator[CheckResult]:
    """Tell how a host is; `skews` are those of all hosts, by which the right time is judged."""
    yield _clock(name, health.skew - median(skews))
    yield _memory(name, *health.memory)
    yield _disk(name, health)
    yield _answer(
        "registry",
        name,
        health.registry,
        "see that the first server can be reached on the registry's port, and add this host again",
    )
    yield _answer("runtime", name, health.runtime, "look at its log: journalctl -u docker -u cloudmesh-containerd")


def _clock(name: str, skew: float) -> CheckResult:
    if abs(skew) <= _SKEW_SECONDS:
        return CheckResult("time", name, OK, f"{abs(skew):.1f} s off")
    cause = f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the other hosts'"
    return CheckResult("time", name, FAILED, cause, "set its clock, or let it be set: timedatectl set-ntp true")


def _memory(name: str, free: int, total: int) -> CheckResult:
    if free < _MEMORY_MB:
        return CheckResult(
            "memory", name, FAILED, f"{free} MiB of {total} are available", "end what takes it: ps --sort=-rss aux"
        )
    return CheckResult("memory", name, OK, f"{_size(free)} of {_size(total)} are available")


def _full(disk: tuple[int, int, str]) -> bool:
    return disk[0] < _DISK_MB or disk[0] < _DISK_SHARE * disk[1]


def _disk(name: str, health: HostHealth) -> CheckResult:
    if full := [disk for disk in health.disks if _full(disk)]:
        cause = "; ".join(f"{_size(free)} of {_size(total)} are free on {mount}" for free, total, mount in full)
        return CheckResult("disk", name, FAILED, cause, "make room there: images and results of old jobs take most")
    least = min(health.disks, key=lambda disk: disk[0] / max(1, disk[1]), default=(0, 0, "?"))
    return CheckResult("disk", name, OK, f"{_size(least[0])} of {_size(least[1])} are free on {least[2]}")


def _size(mib: int) -> str:
    return f"{mib / _MiB_IN_GIB:.1f} GiB" if mib >= _MiB_IN_GIB else f"{mib} MiB"


def _answer(check: str, name: str, why: str, remedy: str) -> CheckResult:
    return CheckResult(check, name, FAILED, why, remedy) if why else CheckResult(check, name, OK)


# --- what tasks have told of the ways between them --------------------------------------------------------------------

ProbeReport = Mapping[str, Any]


def missing_task(name: str, why: str) -> CheckResult:
    """Tell of a host whose task did not come to the others."""
    remedy = "see that hosts reach each other on all ports, and that the host pulls images from the registry"
    return CheckResult("network", name, FAILED, why, remedy)


def check_network(names: Mapping[str, str], reports: Mapping[str, ProbeReport]) -> Iterator[CheckResult]:
    """Tell from each host which others its task has not reached.

    Args:
        names: of the hosts by the numbers of their tasks.
        reports: of the tasks that came, by the same numbers.
    """
    for number, report in reports.items():
        lost = {names[other]: why for other, why in report["reached"].items() if why}
        if lost:
            cause = "; ".join(f"no way to {other}: {why}" for other, why in sorted(lost.items()))
            remedy = "let all traffic pass between these hosts: firewall rules, routes, the overlay network's port"
            yield CheckResult("network", names[number], FAILED, cause, remedy)
        else:
            yield CheckResult("network", names[number], OK, f"reaches {len(report['reached']) - 1} other hosts")


def check_dns(names: Mapping[str, str], reports: Mapping[str, ProbeReport]) -> Iterator[CheckResult]:
    """Tell from each host how names are resolved there."""
    for number, report in reports.items():
        (result, words), *_ = report["dns"].items()
        remedy = "look at the cluster's DNS service, and at /etc/resolv.conf of the host" if result == FAILED else ""
        yield CheckResult("dns", names[number], result, words, remedy)


def check_volume(place: Volume, names: Mapping[str, str], reports: Mapping[str, ProbeReport]) -> Iterator[CheckResult]:
    """Tell from each host whether a place can be written to, and whether it has what other hosts have written."""
    check = f"storage {place.name}"
    for number, report in reports.items():
        told = report["storage"][place.name]
        if "failed" in told:
            remedy = f"look at the place on {names[number]}: is it mounted, and writable for user id 185?"
            yield CheckResult(check, names[number], FAILED, told["failed"], remedy)
            continue
        others = set(told["seen"]) - {number}
        wrote = {each for each, its in reports.items() if "failed" not in its["storage"][place.name]} - {number}
        if others >= wrote:
            yield CheckResult(check, names[number], OK, f"written, and read from {len(others)} other hosts")
        elif place.kind == "directory" and not others:
            yield CheckResult(check, names[number], OK, "written and read; each host has a directory of its own")
        else:
            lost = ", ".join(sorted(names[each] for each in wrote - others))
            cause = f"what {lost} wrote is not seen"
            yield CheckResult(
                check, names[number], FAILED, cause, "see that all hosts mount the same, and mount it now"
            )
