"""Jobs of kind ContainerJob, and the tasks that they consist of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudmesh.cluster.spec.job import JobSpec, Resources, resources
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout


@dataclass(frozen=True)
class ContainerJob(JobSpec):
    """A job of equal tasks of any image.

    Attributes:
        command: replaces the image's entry point; empty: the entry point is used.
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
        """Return the job with `text` applied to each value that may contain `${storage.NAME}`."""
        return replace(super().rewritten(text), command=tuple(map(text, self.command)))

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job."""
        return self.attached

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return the fields of `spec` that only this kind has, as in a job file."""
        return {
            "command": list(self.command),
            "files": [path(file) for file in self.attached],
            "count": self.count,
            "resources": resources(self.needs),
            "ports": list(self.ports),
        }
