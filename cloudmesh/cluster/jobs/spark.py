"""A Spark job as arguments of spark-submit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cloudmesh.cluster.jobs.bundle import JOB_DIR
from cloudmesh.cluster.jobs.model import SparkJob


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
    for option, paths in (("--jars", job.deps.jars), ("--py-files", job.deps.py_files), ("--files", job.deps.files)):
        if paths:
            arguments += [option, _in_image(paths)]
    if job.main_class:
        arguments += ["--class", job.main_class]
    main = _in_image([job.main]) if job.main else job.main_in_image
    return [*arguments, main, *job.arguments]


def _in_image(paths: Iterable[Path]) -> str:
    return ",".join(f"{JOB_DIR}/{path.name}" for path in paths)
