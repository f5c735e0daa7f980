"""The fields of a job file of kind SparkJob."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cloudmesh.cluster.jobs import files, rules
from cloudmesh.cluster.jobs.common import FIELDS, Found, common, cores, memory, paths
from cloudmesh.cluster.jobs.document import shown
from cloudmesh.cluster.jobs.fields import Fields
from cloudmesh.cluster.jobs.model import Dependencies, Executor, Resources, SparkJob

MAX_INSTANCES = 1000
MIN_MEMORY_MB = 512
_REFUSES = "Spark refuses less than 471m"
_SPEC_FIELDS = (*FIELDS, "mainApplicationFile", "mainClass", "sparkConf", "deps", "driver", "executor")
_IN_IMAGE = re.compile(r"local://(/[\w./+=@~-]+)")
_DEFAULTS = SparkJob("default")


def spark_job(root: Fields, folder: Path, arguments: Sequence[str]) -> SparkJob:
    """Return the job that a file describes.

    Args:
        root: the file's fields.
        folder: what its paths are relative to.
        arguments: instead of the file's own, where there are any.

    Raises:
        UsageError: a field is wrong; file, line and field are named.
    """
    spec = root.table("spec").only(*_SPEC_FIELDS)
    found: Found = []
    main, main_in_image = _main(spec, folder, found)
    job = SparkJob(
        **common(root, arguments, _DEFAULTS.image),
        main=main,
        main_in_image=main_in_image,
        main_class=_main_class(spec, main, main_in_image),
        spark_conf={rules.spark_property(key, value): value.text for key, value in spec.pairs("sparkConf").items()},
        deps=_dependencies(spec.table("deps").only("jars", "pyFiles", "files"), folder, found),
        driver=_driver(spec.table("driver").only("cores", "memory")),
        executor=_executor(spec.table("executor").only("instances", "cores", "memory")),
    )
    files.check(found)
    return job


def _main(spec: Fields, folder: Path, found: Found) -> tuple[Path | None, str]:
    value = spec.required("mainApplicationFile")
    if not value.text.startswith("local:"):
        path = files.find(value, folder, files.MAIN_SUFFIXES)
        found.append((value.place, path))
        return path, ""
    match = _IN_IMAGE.fullmatch(value.text)
    if not match or not match[1].endswith(files.MAIN_SUFFIXES):
        raise value.place.error(f"{shown(value.text)}: a file in the image is written local:///folder/name.py or .jar")
    return None, match[1]


def _main_class(spec: Fields, main: Path | None, main_in_image: str) -> str:
    value = spec.value("mainClass")
    is_jar = (main.name if main else main_in_image).endswith(".jar")
    if value is not None:
        if not is_jar:
            raise value.place.error("belongs to a .jar; remove it")
        return rules.class_name(value)
    if not is_jar:
        return ""
    if main is None:
        raise spec.at("mainClass").error("is missing; a jar in the image needs it")
    return files.main_class(main, spec.at("mainApplicationFile"))


def _dependencies(deps: Fields, folder: Path, found: Found) -> Dependencies:
    return Dependencies(
        jars=paths(deps, "jars", folder, found, (".jar",)),
        py_files=paths(deps, "pyFiles", folder, found, files.PYTHON_SUFFIXES),
        files=paths(deps, "files", folder, found),
    )


def _driver(fields: Fields) -> Resources:
    return Resources(cores(fields), memory(fields, _DEFAULTS.driver.memory_mb, MIN_MEMORY_MB, _REFUSES))


def _executor(fields: Fields) -> Executor:
    instances = fields.integer("instances", _DEFAULTS.executor.instances, 1, MAX_INSTANCES)
    its_memory = memory(fields, _DEFAULTS.executor.memory_mb, MIN_MEMORY_MB, _REFUSES)
    return Executor(cores(fields), its_memory, instances)
