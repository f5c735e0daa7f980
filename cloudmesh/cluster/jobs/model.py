"""What a job is, once its file has been read and its parameters filled in; the same for both engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from cloudmesh.cluster.jobs.document import Place

API_VERSION = "cms/v1"
AnyJob = TypeVar("AnyJob", bound="Job")


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
class Dependencies:
    """Local files that travel with the job."""

    jars: tuple[Path, ...] = ()
    py_files: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Storage:
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
    places: tuple[Place, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class Job:
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
    storage: tuple[Storage, ...] = ()
    secrets: tuple[Secret, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job."""
        return ()

    @property
    def places(self) -> tuple[str, ...]:
        """The names of the places that its tasks use, mounted or not."""
        return tuple(each.name for each in self.storage)

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return what is its kind's own, as a job file would say it; `path` writes a local file."""
        return {}

    def rewritten(self: AnyJob, text: Callable[[str], str]) -> AnyJob:
        """Return the job with each word that may refer to storage as `text` gives it."""
        env = {name: text(value) for name, value in self.env.items()}
        return replace(self, arguments=tuple(map(text, self.arguments)), env=env)


@dataclass(frozen=True)
class SparkJob(Job):
    """A Spark application with all that it needs to run.

    Attributes:
        main: the .py or .jar on this machine; None where it is in the image.
        main_in_image: its absolute path in the image, where `main` is None.
        main_class: of a jar; empty for Python.
        spark_conf: Spark properties, none of them one that the cluster sets.
    """

    kind = "SparkJob"

    image: str = "spark"
    main: Path | None = None
    main_in_image: str = ""
    main_class: str = ""
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    deps: Dependencies = field(default_factory=Dependencies)
    driver: Resources = field(default_factory=Resources)
    executor: Executor = field(default_factory=Executor)

    def rewritten(self, text: Callable[[str], str]) -> SparkJob:
        """Return the job with each word that may refer to storage as `text` gives it."""
        conf = {name: text(value) for name, value in self.spark_conf.items()}
        return replace(super().rewritten(text), spark_conf=conf)

    @property
    def is_python(self) -> bool:
        """Whether the application is a Python program, whose workers take memory beside the JVM's."""
        return (self.main.name if self.main else self.main_in_image).endswith(".py")

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job, the main one first."""
        main = (self.main,) if self.main else ()
        return (*main, *self.deps.jars, *self.deps.py_files, *self.deps.files)

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return what is its kind's own, as a job file would say it."""
        spec = {
            "mainApplicationFile": path(self.main) if self.main else f"local://{self.main_in_image}",
            "mainClass": self.main_class,
            "sparkConf": dict(sorted(self.spark_conf.items())),
            "deps": {
                "jars": [path(file) for file in self.deps.jars],
                "pyFiles": [path(file) for file in self.deps.py_files],
                "files": [path(file) for file in self.deps.files],
            },
            "driver": resources(self.driver),
            "executor": {"instances": self.executor.instances, **resources(self.executor)},
        }
        if not self.main_class:
            del spec["mainClass"]
        return spec


@dataclass(frozen=True)
class ContainerJob(Job):
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


def describe(job: Job, path: Callable[[Path], str] = str) -> dict[str, Any]:
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
