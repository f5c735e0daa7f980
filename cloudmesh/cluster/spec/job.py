"""What a job is, once its file has been read and its parameters filled in; the same for both engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from cloudmesh.cluster.spec.task_groups import TaskLayout
    from cloudmesh.cluster.spec.yaml_document import SourceLocation


API_VERSION = "cms/v1"
AnyJob = TypeVar("AnyJob", bound="JobSpec")


@dataclass(frozen=True)
class Resources:
    """What one process of a job needs.

    Attributes:
        cores: whole processors.
        memory_mb: MiB of Java heap; the engine has to add what the process needs beside it.
    """

    cores: int = 1
    memory_mb: int = 1024


@dataclass(frozen=True)
class Executor(Resources):
    """What each executor of a Spark job needs.

    Attributes:
        instances: how many of them.
    """

    instances: int = 1


@dataclass(frozen=True)
class VolumeClaim:
    """A place for data that outlives the job; the cluster decides what it is."""

    name: str
    mount: str
    read_only: bool = False


@dataclass(frozen=True)
class Secret:
    """A named secret and the environment variables that the job gets from it.

    Attributes:
        places: where the job file names the variables.
    """

    name: str
    env: tuple[str, ...]
    places: tuple[SourceLocation, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class JobSpec:
    """What jobs of every kind have.

    Attributes:
        kind: as the job file says it.
        name: an RFC 1123 label; the job's id is made from it.
        image: one of ours, or any that the cluster can pull.
        arguments: the program's own.
        env: environment of all tasks.
        retries: how often the job is run again after a failure.
        timeout_seconds: how long it may run; 0: as long as it likes.
        ttl_seconds: how long it and its results are kept after its end.
        storage: places that its tasks use.
        secrets: that its tasks get.
    """

    kind: ClassVar[str]

    name: str
    image: str = ""
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    retries: int = 0
    timeout_seconds: int = 0
    ttl_seconds: int = 86400
    storage: tuple[VolumeClaim, ...] = ()
    secrets: tuple[Secret, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job."""
        return ()

    @property
    def volumes(self) -> tuple[str, ...]:
        """The names of the volumes that its tasks use, mounted or not."""
        return tuple(each.name for each in self.storage)

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return what is its kind's own, as a job file would say it; `path` writes a local file."""
        return {}

    def layout(self, hosts: Sequence[str] = ()) -> TaskLayout:
        """Return the tasks that the job is made of; a SparkJob has none: Spark makes its own.

        Args:
            hosts: the engine's names of the hosts that it is given, for a job whose tasks are bound to hosts.
        """
        raise NotImplementedError(f"a {self.kind} has no layout of tasks")

    @property
    def hosts_wanted(self) -> int:
        """How many hosts must be given to the job, because its tasks are bound to them; 0 where they are not."""
        return 0

    def rewritten(self: AnyJob, text: Callable[[str], str]) -> AnyJob:
        """Return the job with each word that may refer to storage as `text` gives it."""
        env = {name: text(value) for name, value in self.env.items()}
        return replace(self, arguments=tuple(map(text, self.arguments)), env=env)


def describe(job: JobSpec, path: Callable[[Path], str] = str) -> dict[str, Any]:
    """Return the job as a job file would say it, with nothing left to fill in; the same job gives the same answer.

    Args:
        job: the job.
        path: how a local file is written.
    """
    spec = {
        "image": job.image,
        "arguments": list(job.arguments),
        "env": dict(sorted(job.env.items())),
        "retries": job.retries,
        "timeoutSeconds": job.timeout_seconds,
        "ttlSeconds": job.ttl_seconds,
        "storage": [{"name": each.name, "mount": each.mount, "readOnly": each.read_only} for each in job.storage],
        "secrets": [{"name": each.name, "env": list(each.env)} for each in job.secrets],
        **job.spec(path),
    }
    return {"apiVersion": API_VERSION, "kind": job.kind, "metadata": {"name": job.name}, "spec": spec}


def resources(needs: Resources) -> dict[str, Any]:
    """Return resources as a job file would say them."""
    return {"cores": needs.cores, "memory": f"{needs.memory_mb}m"}
