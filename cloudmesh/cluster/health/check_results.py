"""Evaluates what hosts and tasks report in a cluster's test: compares it with limits, and makes a row of each check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from cloudmesh.cluster.core.model import Node, Volume

OK, FAILED, SKIPPED = "ok", "failed", "skipped"
_MIN_DISK_MB, _MIN_DISK_SHARE = 1024, 0.05  # free MiB, and the free share of the whole
_MIN_MEMORY_MB = 256
_MAX_SKEW_SECONDS = 5.0


@dataclass(frozen=True)
class CheckResult:
    """One check of one host.

    Attributes:
        check: "disk", "network", "storage NAME", …
        host: the host's name; where a check concerns two hosts, the one that reports it; "-": the whole cluster.
        result: "ok", "failed" or "skipped".
        cause: why it failed or was skipped; where it is ok, what was measured.
        remedy: what the operator can do about a failure.
    """

    check: str
    host: str
    result: str
    cause: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class HostHealth:
    """What a host reports about itself (`cloudmesh/images/host/health.sh`).

    Attributes:
        skew: the host's clock minus the operator's, in seconds.
        memory: available MiB and total MiB.
        disks: free MiB, total MiB and mount point of each disk.
        registry: why the host gets no answer from the cluster's registry; empty where it does.
        runtime: why its container runtime does not answer; empty where it does.
    """

    skew: float
    memory: tuple[int, int]
    disks: tuple[tuple[int, int, str], ...]
    registry: str = ""
    runtime: str = ""

    @property
    def runs_tasks(self) -> bool:
        """Whether a task can be expected to run on the host."""
        return not self.registry and not self.runtime and not any(map(_is_full, self.disks))


def parse(facts: Mapping[str, str], asked_at: float) -> HostHealth:
    """Parse the facts that the host script reported.

    Args:
        facts: the facts by name.
        asked_at: the operator's time in the middle of the request, in seconds since the epoch.

    Raises:
        KeyError: a fact is missing.
        ValueError: a fact is malformed.
    """
    free, total = facts["memory"].split()
    disks = (line.split(maxsplit=2) for line in facts["disk"].splitlines())
    return HostHealth(
        skew=float(facts["clock"]) - asked_at,
        memory=(int(free), int(total)),
        disks=tuple((int(free), int(total), mount) for free, total, mount in disks),
        registry=facts["registry"].strip(),
        runtime=facts["runtime"].strip(),
    )


def check_engine(node: Node, host: str) -> CheckResult:
    """Check whether a node is ready for the engine."""
    if node.status != "ready":
        return CheckResult(
            "engine", host, FAILED, f"the engine calls it {node.status}", "start the host and its agent, or remove it"
        )
    return CheckResult("engine", host, OK, f"{node.free_cores:g} cores and {node.free_memory_mb} MiB are free for jobs")


def check_host(name: str, health: HostHealth, skews: Sequence[float]) -> Iterator[CheckResult]:
    """Check what a host reports. `skews` are those of all hosts: their median counts as the right time."""
    yield _check_clock(name, health.skew - median(skews))
    yield _check_memory(name, *health.memory)
    yield _check_disks(name, health)
    yield _check_answer(
        "registry",
        name,
        health.registry,
        "see that it reaches the servers on TCP 5443, and that cloudmesh-registry runs there: systemctl status",
    )
    yield _check_answer(
        "runtime", name, health.runtime, "look at its log: journalctl -u docker -u cloudmesh-containerd"
    )


def _check_clock(name: str, skew: float) -> CheckResult:
    if abs(skew) <= _MAX_SKEW_SECONDS:
        return CheckResult("time", name, OK, f"{abs(skew):.1f} s off")
    cause = f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the other hosts'"
    return CheckResult("time", name, FAILED, cause, "set its clock, or let it be set: timedatectl set-ntp true")


def _check_memory(name: str, free: int, total: int) -> CheckResult:
    if free < _MIN_MEMORY_MB:
        return CheckResult(
            "memory", name, FAILED, f"{free} MiB of {total} are available", "end what takes it: ps --sort=-rss aux"
        )
    return CheckResult("memory", name, OK, f"{_format_size(free)} of {_format_size(total)} are available")


def _is_full(disk: tuple[int, int, str]) -> bool:
    free, total, _ = disk
    return free < _MIN_DISK_MB or free < _MIN_DISK_SHARE * total


def _check_disks(name: str, health: HostHealth) -> CheckResult:
    if full := [disk for disk in health.disks if _is_full(disk)]:
        cause = "; ".join(
            f"{_format_size(free)} of {_format_size(total)} are free on {mount}" for free, total, mount in full
        )
        return CheckResult("disk", name, FAILED, cause, "make room there: images and results of old jobs take most")
    free, total, mount = min(health.disks, key=lambda disk: disk[0] / max(1, disk[1]), default=(0, 0, "?"))
    return CheckResult("disk", name, OK, f"{_format_size(free)} of {_format_size(total)} are free on {mount}")


def _format_size(mib: int) -> str:
    import humanize

    return humanize.naturalsize(mib << 20, binary=True)


def _check_answer(check: str, name: str, why: str, remedy: str) -> CheckResult:
    return CheckResult(check, name, FAILED, why, remedy) if why else CheckResult(check, name, OK)


# --- what the tasks report about network and volumes ------------------------------------------------------------------

ProbeReport = Mapping[str, Any]
"""What a task printed, a line of `cloudmesh/images/cluster_test/probe.py`."""


def missing_task(name: str, why: str) -> CheckResult:
    """Return the result for a host whose task did not reach the first task; `why` is the cause."""
    remedy = "see that hosts reach each other on all ports, and that the host pulls images from the registry"
    return CheckResult("network", name, FAILED, why, remedy)


def check_network(names: Mapping[str, str], reports: Mapping[str, ProbeReport]) -> Iterator[CheckResult]:
    """Check for each host whether its task reached the tasks on all other hosts.

    Args:
        names: name of each host, by the number of its task.
        reports: report of each task that has one, by the task's number.
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
    """Check for each host whether names are resolved there; see `check_network` for the arguments."""
    for number, report in reports.items():
        (result, cause), *_ = report["dns"].items()
        remedy = "look at the cluster's DNS service, and at /etc/resolv.conf of the host" if result == FAILED else ""
        yield CheckResult("dns", names[number], result, cause, remedy)


def check_volume(volume: Volume, names: Mapping[str, str], reports: Mapping[str, ProbeReport]) -> Iterator[CheckResult]:
    """Check for each host whether its task could write to a volume, and read there what the other tasks wrote.

    On a volume of the kind "directory", a task may see its own file alone: the hosts' directories need not be shared.
    See `check_network` for `names` and `reports`.
    """
    check = f"storage {volume.name}"
    accesses = {number: report["storage"][volume.name] for number, report in reports.items()}
    writers = {number for number, access in accesses.items() if "failed" not in access}
    for number, access in accesses.items():
        if "failed" in access:
            remedy = f"look at the volume on {names[number]}: is it mounted, and writable for user id 185?"
            yield CheckResult(check, names[number], FAILED, access["failed"], remedy)
            continue
        seen = set(access["seen"]) - {number}
        unseen = writers - {number} - seen
        if not unseen:
            yield CheckResult(check, names[number], OK, f"written, and read from {len(seen)} other hosts")
        elif volume.kind == "directory" and not seen:
            yield CheckResult(check, names[number], OK, "written and read; each host has a directory of its own")
        else:
            cause = f"what {', '.join(sorted(names[other] for other in unseen))} wrote is not seen"
            yield CheckResult(
                check, names[number], FAILED, cause, "see that all hosts mount the same, and mount it now"
            )
