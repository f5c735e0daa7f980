"""The fields of a job file of kind ContainerJob."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloudmesh.cluster.jobs import files, rules
from cloudmesh.cluster.jobs.common import FIELDS, Found, common, cores, memory, paths
from cloudmesh.cluster.jobs.fields import Fields
from cloudmesh.cluster.jobs.model import ContainerJob, Resources

MAX_COUNT = 1000
MAX_PORTS = 16
MIN_MEMORY_MB = 16
_DEFAULTS = ContainerJob("default")


def container_job(root: Fields, folder: Path, arguments: Sequence[str]) -> ContainerJob:
    """Return the job that a file describes.

    Args:
        root: the file's fields.
        folder: what its paths are relative to.
        arguments: instead of the file's own, where there are any.

    Raises:
        UsageError: a field is wrong; file, line and field are named.
    """
    spec = root.table("spec").only(*FIELDS, "command", "count", "resources", "ports", "files")
    found: Found = []
    job = ContainerJob(
        **common(root, arguments),
        command=tuple(value.text for value in spec.values("command")),
        attached=paths(spec, "files", folder, found),
        count=spec.integer("count", _DEFAULTS.count, 1, MAX_COUNT),
        needs=_needs(spec.table("resources").only("cores", "memory")),
        ports=_ports(spec),
    )
    files.check(found)
    return job


def _needs(fields: Fields) -> Resources:
    return Resources(cores(fields), memory(fields, _DEFAULTS.needs.memory_mb, MIN_MEMORY_MB))


def _ports(spec: Fields) -> tuple[str, ...]:
    found: list[str] = []
    for value in spec.values("ports"):
        name = rules.port(value)
        if name in found:
            raise value.place.error(f"{name} is given a second time")
        found.append(name)
    if len(found) > MAX_PORTS:
        raise spec.at("ports").error(f"more than {MAX_PORTS} ports")
    return tuple(found)
