"""Whether Nomad can ever place a job in its own language on its hosts; else it waits for other hosts for ever."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from cloudmesh.cluster.core.model import Node
from cloudmesh.cluster.providers.nomad.job_spec import CORE

_ON_EACH_HOST = ("system", "sysbatch")


def why_never_placed(
    job: Mapping[str, Any], plan: Mapping[str, Any], summaries: Iterable[Mapping[str, Any]], nodes: Sequence[Node]
) -> str:
    """Return why a job could not run even on an idle cluster; empty if it could, or that is not known.

    Args:
        job: Nomad's JSON of the job.
        plan: Nomad's answer to what it would do with the job.
        summaries: Nomad's list of its nodes.
        nodes: the same nodes as we describe them.
    """
    if elsewhere := _find_other_datacenters(job, summaries):
        return elsewhere
    if job.get("Type") in _ON_EACH_HOST:
        return ""
    failed = plan.get("FailedTGAllocs") or {}
    groups = {group["Name"]: group for group in job.get("TaskGroups") or ()}
    # A host that is away may be the one that takes it.
    all_ready = all(node.status == "ready" for node in nodes)
    for name, metric in failed.items():
        if all_ready and 0 < metric["NodesEvaluated"] == metric["NodesFiltered"]:
            unmet = ", ".join(sorted(metric.get("ConstraintFiltered") or metric.get("ClassFiltered") or {}))
            return f"no host meets the conditions of its group {name}: {unmet}"
        if name in groups and (too_large := next(_find_too_large(groups[name], nodes), "")):
            return f"its group {name} needs {too_large}"
    return ""


def _find_other_datacenters(job: Mapping[str, Any], summaries: Iterable[Mapping[str, Any]]) -> str:
    """Return what is wrong with the datacenters that a job names; empty if a host is in one of them."""
    patterns = job.get("Datacenters") or ["*"]
    present = sorted({str(summary["Datacenter"]) for summary in summaries})
    if not present or any(fnmatchcase(name, pattern) for name in present for pattern in patterns):
        return ""
    return (
        f"no host is in its datacenters, {', '.join(map(str, patterns))}: those of this cluster are in "
        f'{", ".join(present)}; leave `datacenters` out, or write datacenters = ["*"]'
    )


def _find_too_large(group: Mapping[str, Any], nodes: Sequence[Node]) -> Iterator[str]:
    """Yield which of the resources of a group no host has, even without other jobs."""
    # Tasks with a lifecycle may run before or after the others.
    resources = [task.get("Resources") or {} for task in group.get("Tasks") or () if not task.get("Lifecycle")]
    largest = {
        "MemoryMB": (max((node.memory_mb for node in nodes), default=0), "MiB of memory"),
        "CPU": (round(max((node.cores for node in nodes), default=0) * CORE), f"CPU shares ({CORE} for a core)"),
        "Cores": (int(max((node.cores for node in nodes), default=0)), "cores"),
    }
    for key, (has, unit) in largest.items():
        needs = sum(entry.get(key) or 0 for entry in resources)
        if needs > has:
            yield f"{needs} {unit} on one host, and the largest has {has}"
