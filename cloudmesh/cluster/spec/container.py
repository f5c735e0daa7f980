"""Jobs of kind ContainerJob: their fields in a job file, and of which tasks they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudmesh.cluster.spec import local_files, validators
from cloudmesh.cluster.spec.common_fields import FIELDS, Found, common_fields, cores, memory, paths
from cloudmesh.cluster.spec.fields import Fields
from cloudmesh.cluster.spec.job import JobSpec, Resources, resources
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout


@dataclass(frozen=True)
class ContainerJob(JobSpec):
    """Some equal tasks of any image.

    Attributes:
        command: instead of the image's entry point; empty: the image's own.
        attached: local files that lie in the job's directory.
        count: how many tasks.
        needs: what each of them needs; the memory is all that it gets.
        ports: names of the ports that each of them listens on.
    """

    kind = "ContainerJob"

    command: tuple[str, ...] = ()
    attached: tuple[Path, ...] = ()
    count: int = 1
    needs: Resources = field(default_factory=Resources)
    ports: tuple[str, ...] = ()

    def layout(self, hosts: Sequence[str] = ()) -> TaskLayout:
        """Return the tasks that the job is made of; they may run on any hosts."""
        return TaskLayout(
            (
                TaskGroup(
                    name="task",
                    count=self.count,
                    cores=self.needs.cores,
                    memory_mb=self.needs.memory_mb,
                    command=self.command,
                    arguments=self.arguments,
                    ports=dict.fromkeys(self.ports, 0),
                    retries=self.retries,
                ),
            )
        )

    def rewritten(self, text: Callable[[str], str]) -> ContainerJob:
        """Return the job with each word that may refer to storage as `text` gives it."""
        return replace(super().rewritten(text), command=tuple(map(text, self.command)))

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job."""
        return self.attached

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return what is its kind's own, as a job file would say it."""
        return {
            "command": list(self.command),
            "files": [path(file) for file in self.attached],
            "count": self.count,
            "resources": resources(self.needs),
            "ports": list(self.ports),
        }


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
        **common_fields(root, arguments),
        command=tuple(value.text for value in spec.values("command")),
        attached=paths(spec, "files", folder, found),
        count=spec.integer("count", _DEFAULTS.count, 1, MAX_COUNT),
        needs=_resources(spec.table("resources").only("cores", "memory")),
        ports=_ports(spec),
    )
    local_files.check_together(found)
    return job


def _resources(fields: Fields) -> Resources:
    return Resources(cores(fields), memory(fields, _DEFAULTS.needs.memory_mb, MIN_MEMORY_MB))


def _ports(spec: Fields) -> tuple[str, ...]:
    found: list[str] = []
    for value in spec.values("ports"):
        name = validators.port(value)
        if name in found:
            raise value.place.error(f"{name} is given a second time")
        found.append(name)
    if len(found) > MAX_PORTS:
        raise spec.at("ports").error(f"more than {MAX_PORTS} ports")
    return tuple(found)
