"""Jobs of kind SparkJob: arguments of spark-submit, and what driver and executors need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from cloudmesh.cluster.spec.job import Executor, JobSpec, Resources, resources
from cloudmesh.cluster.spec.job_bundle import JOB_DIR


@dataclass(frozen=True)
class Dependencies:
    """Local files that travel with the job."""

    jars: tuple[Path, ...] = ()
    py_files: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class SparkJob(JobSpec):
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
        """Return the job with `text` applied to each value that may contain `${storage.NAME}`."""
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
        """Return the fields of `spec` that only this kind has, as in a job file."""
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


def submit_arguments(job: SparkJob) -> list[str]:
    """Return what follows `spark-submit --master ... --deploy-mode client` and the settings of the network.

    Local files are named as they lie in the image. Standalone Spark is told how many executors by their cores in all
    (`spark.cores.max`), Kubernetes by `spark.executor.instances`; each ignores the other's.
    """
    executor = job.executor
    conf = {
        **job.spark_conf,
        "spark.executor.instances": str(executor.instances),
        "spark.cores.max": str(executor.instances * executor.cores),
    }
    arguments = ["--name", job.name, "--driver-memory", f"{job.driver.memory_mb}m"]
    arguments += ["--executor-cores", str(executor.cores), "--executor-memory", f"{executor.memory_mb}m"]
    for key, value in sorted(conf.items()):
        arguments += ["--conf", f"{key}={value}"]
    for option, files in (("--jars", job.deps.jars), ("--py-files", job.deps.py_files), ("--files", job.deps.files)):
        if files:
            arguments += [option, _in_image(files)]
    if job.main_class:
        arguments += ["--class", job.main_class]
    main = _in_image([job.main]) if job.main else job.main_in_image
    return [*arguments, main, *job.arguments]


def _in_image(paths: Iterable[Path]) -> str:
    return ",".join(f"{JOB_DIR}/{path.name}" for path in paths)


# A JVM needs memory beside its heap, and Python's workers live there too.
_OVERHEAD_MB, _OVERHEAD_PYTHON, _OVERHEAD_JVM = 384, 0.4, 0.1


class ResourceRequest(NamedTuple):
    """What each of some equal parts of a job needs on one host; memory with what its processes take beside the heap."""

    instances: int
    cores: int
    memory_mb: int


def spark_requests(job: SparkJob, *, beside_mb: int = 0) -> tuple[ResourceRequest, ResourceRequest]:
    """Return what the driver needs, and what the executors need.

    Args:
        job: the job.
        beside_mb: what the engine runs beside each of them.
    """
    driver = ResourceRequest(1, job.driver.cores, _memory_with_overhead(job, job.driver) + beside_mb)
    return driver, ResourceRequest(
        job.executor.instances, job.executor.cores, _memory_with_overhead(job, job.executor) + beside_mb
    )


def _memory_with_overhead(job: SparkJob, heap: Resources) -> int:
    share = _OVERHEAD_PYTHON if job.is_python else _OVERHEAD_JVM
    return heap.memory_mb + max(_OVERHEAD_MB, int(heap.memory_mb * share))
