"""What a job is, once its file has been read and its parameters filled in; the same for both engines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from cloudmesh.cluster.spec.task_groups import TaskLayout
    from cloudmesh.cluster.spec.yaml_document import SourceLocation


API_VERSION = "cms/v1"
# A volume in a text of a job. "$${storage.x}" stands for the text "${storage.x}".
STORAGE_REFERENCE = re.compile(r"(\$?)\$\{storage\.([^{}]*)\}")
AnyJob = TypeVar("AnyJob", bound="JobSpec")


def as_text(value: str) -> str:
    """Return a value such that no reference to a volume in it is replaced: it stands for itself."""
    return STORAGE_REFERENCE.sub(lambda match: f"${match[0]}", value)


@dataclass(frozen=True)
class Resources:
    """What one process of a job needs.

    Attributes:
        cores: whole processors.
        memory_mb: MiB of Java heap; the engine adds what the process needs in addition.
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
    """A job's use of a volume, whose data outlives the job.

    Attributes:
        name: of the volume; the cluster knows what kind of volume it is.
        mount: the absolute path at which the job's tasks find the data.
        read_only: whether the tasks cannot write there.
    """

    name: str
    mount: str
    read_only: bool = False


@dataclass(frozen=True)
class Secret:
    """A named secret and the environment variables that the job gets from it.

    Attributes:
        locations: the lines of the job file that name the variables.
    """

    name: str
    env: tuple[str, ...]
    locations: tuple[SourceLocation, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class JobSpec:
    """What jobs of every kind have.

    Attributes:
        kind: the job file's `kind`.
        name: an RFC 1123 label; the job's id is made from it.
        image: one of this project's images, or any that the cluster can pull.
        arguments: of the program.
        env: environment variables of all tasks.
        retries: how often the job is run again after a failure.
        timeout_seconds: how long it may run; 0: without a limit.
        ttl_seconds: how long it and its results are kept after its end.
        log_limit_mb: how many MiB of what a task prints are kept.
        storage: the volumes that its tasks use.
        secrets: the secrets that its tasks get.
    """

    kind: ClassVar[str]

    name: str
    image: str = ""
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    retries: int = 0
    timeout_seconds: int = 0
    ttl_seconds: int = 86400
    log_limit_mb: int = 1024
    storage: tuple[VolumeClaim, ...] = ()
    secrets: tuple[Secret, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job."""
        return ()

    @property
    def volumes(self) -> tuple[str, ...]:
        """The names of the volumes that its tasks use, mounted or not."""
        return tuple(claim.name for claim in self.storage)

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return the fields of `spec` that only this kind has, as in a job file; `path` writes a local file's path."""
        return {}

    def layout(self, hosts: Sequence[str] = ()) -> TaskLayout:
        """Return the task groups that the job consists of. A SparkJob has no layout: Spark starts its own processes.

        Args:
            hosts: the engine's names of the nodes for the job's tasks, if its tasks are bound to nodes.

        Raises:
            NotImplementedError: it is a SparkJob.
        """
        raise NotImplementedError(f"a {self.kind} has no layout of tasks")

    @property
    def hosts_wanted(self) -> int:
        """How many nodes `layout` needs because the tasks are bound to nodes; 0: they are not bound."""
        return 0

    def rewritten(self: AnyJob, text: Callable[[str], str]) -> AnyJob:
        """Return the job with `text` applied to each value that may contain `${storage.NAME}`."""
        env = {name: text(value) for name, value in self.env.items()}
        return replace(self, arguments=tuple(map(text, self.arguments)), env=env)


def describe(job: JobSpec, path: Callable[[Path], str] = str) -> dict[str, Any]:
    """Return the job as a complete job file without parameters; equal jobs give equal results.

    Args:
        job: the job.
        path: writes the path of a local file.
    """
    spec = {
        "image": job.image,
        "arguments": list(job.arguments),
        "env": dict(sorted(job.env.items())),
        "retries": job.retries,
        "timeoutSeconds": job.timeout_seconds,
        "ttlSeconds": job.ttl_seconds,
        "logLimit": f"{job.log_limit_mb}m",
        "storage": [{"name": claim.name, "mount": claim.mount, "readOnly": claim.read_only} for claim in job.storage],
        "secrets": [{"name": secret.name, "env": list(secret.env)} for secret in job.secrets],
        **job.spec(path),
    }
    return {"apiVersion": API_VERSION, "kind": job.kind, "metadata": {"name": job.name}, "spec": spec}


def resources(needs: Resources) -> dict[str, Any]:
    """Return resources as a job file has them."""
    return {"cores": needs.cores, "memory": f"{needs.memory_mb}m"}
