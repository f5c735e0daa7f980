"""From what the user gave to `submit` to a job, checked to the last field before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import local_files, native, parameters, yaml_document
from cloudmesh.cluster.spec.common_fields import Reader
from cloudmesh.cluster.spec.container import container_job
from cloudmesh.cluster.spec.fields import Fields, suggestion
from cloudmesh.cluster.spec.hadoop import hadoop_job, hadoop_service
from cloudmesh.cluster.spec.job import API_VERSION, JobSpec
from cloudmesh.cluster.spec.native import NativeJob
from cloudmesh.cluster.spec.spark import SparkJob, spark_job
from cloudmesh.cluster.spec.yaml_document import Scalar, SourceLocation, flaw, quoted

_READERS: Mapping[str, Reader] = {
    "SparkJob": spark_job,
    "HadoopJob": hadoop_job,
    "HadoopService": hadoop_service,
    "ContainerJob": container_job,
}


def load(job: str, arguments: Sequence[str], params: Mapping[str, str], params_file: str = "") -> JobSpec | NativeJob:
    """Return the job that a path stands for, with its parameters filled in and its files found.

    Args:
        job: a job file (.yaml, .yml), a .py, a .jar, or a job in an engine's own language (.nomad, .hcl, .json, .yaml).
        arguments: the application's, as with spark-submit; where there are any, a job file's own are left out.
        params: values by name, which go before those of `params_file`, which go before defaults.
        params_file: a YAML or JSON file with values by name; empty for none.

    Raises:
        UsageError: anything is wrong; the message names file, line and field where there are some.
    """
    for text in (job, params_file, *arguments):
        if problem := flaw(text):
            raise UsageError(f"{quoted(text)} {problem}")
    suffix = Path(job).suffix
    if suffix in native.SUFFIXES:
        if found := native.read_native(job):
            parameters.refuse_parameters(params, params_file, job)
            return _without_arguments(found, arguments)
        return _from_file(job, arguments, params, params_file)
    if suffix in local_files.MAIN_SUFFIXES:
        parameters.refuse_parameters(params, params_file, job)
        return _from_application(job, arguments)
    raise UsageError(
        f"{quoted(job)} is no job: give a job file (.yaml), a .py, a .jar, a Nomad job (.nomad, .hcl, .json) "
        "or a Kubernetes manifest (.yaml, .json)"
    )


def _without_arguments(job: NativeJob, arguments: Sequence[str]) -> NativeJob:
    if arguments:
        raise SourceLocation(job.source).error(
            "a job in its engine's own language goes as it is, and takes no arguments"
        )
    return job


def _from_application(job: str, arguments: Sequence[str]) -> SparkJob:
    value = Scalar(job, "str", SourceLocation("submit"))
    path = local_files.find_file(value, Path.cwd(), local_files.MAIN_SUFFIXES)
    local_files.check_together([(value.place, path)])
    main_class = local_files.main_class(path, value.place) if path.suffix == ".jar" else ""
    return SparkJob(names.label_from(path.name), main=path, main_class=main_class, arguments=tuple(arguments))


def _from_file(job: str, arguments: Sequence[str], params: Mapping[str, str], params_file: str) -> JobSpec:
    root = Fields.of(yaml_document.read(job), "")
    read = _reader(root)
    root.only("apiVersion", "kind", "metadata", "params", "spec")
    given = parameters.from_file(params_file) if params_file else {}
    given |= parameters.from_options(params)
    settled = parameters.settle(parameters.declarations(root.table("params")), given, job)
    folder = yaml_document.local_path(job).parent.absolute()
    return read(Fields(root.entries, root.place, settled.substitute), folder, arguments)


def _reader(root: Fields) -> Reader:
    version = root.required("apiVersion")
    if version.text != API_VERSION:
        raise version.place.error(f"must be {API_VERSION}, not {quoted(version.text)}; no such version")
    kind = root.required("kind")
    if kind.text not in _READERS:
        raise kind.place.error(f"unknown kind {quoted(kind.text)}; {suggestion(kind.text, _READERS)}")
    return _READERS[kind.text]
