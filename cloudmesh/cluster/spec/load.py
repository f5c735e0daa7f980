"""What the user gave to `submit`, as a job that is completely checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import local_files, native, parameters
from cloudmesh.cluster.spec.job import JobSpec, as_text
from cloudmesh.cluster.spec.native import NativeJob
from cloudmesh.cluster.spec.spark import SparkJob
from cloudmesh.cluster.spec.yaml_document import SourceLocation, flaw, quoted


def load(job: str, arguments: Sequence[str], params: Mapping[str, str], params_file: str = "") -> JobSpec | NativeJob:
    """Return the job that a path stands for, with its parameters filled in and its files found.

    Args:
        job: a job file (.yaml, .yml), a .py, a .jar, or a job in an engine's own language (.nomad, .hcl, .json, .yaml).
        arguments: of the application, as with spark-submit; they replace the arguments in a job file. Nothing in them
            is replaced, and nothing in the values of parameters.
        params: values by name; they go before those of `params_file`, which go before the defaults.
        params_file: a YAML or JSON file with values by name; empty for none.

    Raises:
        UsageError: the file is no job, or a field of it is wrong; the message names file, line and field.
    """
    for text in (job, params_file, *arguments):
        if problem := flaw(text):
            raise UsageError(f"{quoted(text)} {problem}")
    arguments = [as_text(word) for word in arguments]
    suffix = Path(job).suffix
    if suffix in native.SUFFIXES:
        if native_job := native.read_native(job):
            parameters.refuse_parameters(params, params_file, job)
            return _without_arguments(native_job, arguments)
        # Only job files need pydantic, which takes long to import.
        from cloudmesh.cluster.spec.job_file import read_job_file

        return read_job_file(job, arguments, params, params_file)
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
    location = SourceLocation("submit")
    if problem := local_files.path_flaw(job, local_files.MAIN_SUFFIXES):
        raise location.error(problem)
    files = local_files.LocalFiles(Path.cwd())
    path = files.find(job, location)
    files.check_together()
    main_class = local_files.read_main_class(path, location) if path.suffix == ".jar" else ""
    return SparkJob(names.label_from(path.name), main=path, main_class=main_class, arguments=tuple(arguments))
