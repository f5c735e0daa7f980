"""What a job is, once its file has been read and its parameters filled in; the same for both engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

API_VERSION = "cms/v1"


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
    """A named secret and the environment variables that the job gets from it."""

    name: str
    env: tuple[str, ...]


@dataclass(frozen=True)
class SparkJob:
    """A Spark application with all that it needs to run.

    Attributes:
        name: an RFC 1123 label; the job's id is made from it.
        main: the .py or .jar on this machine; None where it is in the image.
        main_in_image: its absolute path in the image, where `main` is None.
        main_class: of a jar; empty for Python.
        arguments: the application's own.
        spark_conf: Spark properties, none of them one that the cluster sets.
        env: environment of driver and executors.
        retries: how often the job is run again after a failure.
        timeout_seconds: how long it may run; 0: as long as it likes.
        ttl_seconds: how long it and its results are kept after its end.
    """

    name: str
    image: str = "spark"
    main: Path | None = None
    main_in_image: str = ""
    main_class: str = ""
    arguments: tuple[str, ...] = ()
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    deps: Dependencies = field(default_factory=Dependencies)
    driver: Resources = field(default_factory=Resources)
    executor: Executor = field(default_factory=Executor)
    retries: int = 0
    timeout_seconds: int = 0
    ttl_seconds: int = 86400
    storage: tuple[Storage, ...] = ()
    secrets: tuple[Secret, ...] = ()

    @property
    def is_python(self) -> bool:
        """Whether the application is a Python program, whose workers take memory beside the JVM's."""
        return (self.main.name if self.main else self.main_in_image).endswith(".py")

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job, the main one first."""
        main = (self.main,) if self.main else ()
        return (*main, *self.deps.jars, *self.deps.py_files, *self.deps.files)


def describe(job: SparkJob, path: Callable[[Path], str] = str) -> dict[str, Any]:
    """Return the job as a job file would say it, with nothing left to fill in; the same job gives the same answer.

    Args:
        job: the job.
        path: how a local file is written.
    """
    spec = {
        "image": job.image,
        "mainApplicationFile": path(job.main) if job.main else f"local://{job.main_in_image}",
        "mainClass": job.main_class,
        "arguments": list(job.arguments),
        "sparkConf": dict(sorted(job.spark_conf.items())),
        "deps": {
            "jars": [path(file) for file in job.deps.jars],
            "pyFiles": [path(file) for file in job.deps.py_files],
            "files": [path(file) for file in job.deps.files],
        },
        "env": dict(sorted(job.env.items())),
        "driver": _resources(job.driver),
        "executor": {"instances": job.executor.instances, **_resources(job.executor)},
        "retries": job.retries,
        "timeoutSeconds": job.timeout_seconds,
        "ttlSeconds": job.ttl_seconds,
    }
    if not job.main_class:
        del spec["mainClass"]
    return {"apiVersion": API_VERSION, "kind": "SparkJob", "metadata": {"name": job.name}, "spec": spec}


def _resources(needs: Resources) -> dict[str, Any]:
    return {"cores": needs.cores, "memory": f"{needs.memory_mb}m"}
