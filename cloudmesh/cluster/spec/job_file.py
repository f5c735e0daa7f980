"""Job files of this project: which kinds there are, how one becomes a job, and their JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudmesh.cluster.spec import parameters, yaml_document
from cloudmesh.cluster.spec.common_model import JobFile
from cloudmesh.cluster.spec.container_model import ContainerJobFile
from cloudmesh.cluster.spec.document import Document, suggestion
from cloudmesh.cluster.spec.hadoop_model import HadoopJobFile, HadoopServiceFile
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.local_files import LocalFiles
from cloudmesh.cluster.spec.spark_model import SparkJobFile
from cloudmesh.cluster.spec.yaml_document import Table, quoted

JOB_FILES: Mapping[str, type[JobFile]] = {
    "SparkJob": SparkJobFile,
    "HadoopJob": HadoopJobFile,
    "HadoopService": HadoopServiceFile,
    "ContainerJob": ContainerJobFile,
}
_WITHOUT_PARAMETERS = ("apiVersion", "kind", "params")


def read_job_file(source: str, arguments: Sequence[str], params: Mapping[str, str], params_file: str = "") -> JobSpec:
    """Return the job that a job file describes, with its parameters filled in and its local files found.

    Args:
        source: the path of the file.
        arguments: replace those of the file, if there are any.
        params: values of parameters by name; they go before those of `params_file`, which go before the defaults.
        params_file: a YAML or JSON file with values by name; empty: none.

    Raises:
        UsageError: a field is wrong or a local file cannot travel; the message names file, line and field.
    """
    document = Document.read(source)
    data, header = _read_header(document)
    given = parameters.from_file(params_file) if params_file else {}
    given |= parameters.from_options(params)
    settled = parameters.settle(parameters.build_parameters(header.params, document), given, source)
    replaced = "arguments" if arguments else ""
    metadata = document.plain("metadata", substitute=settled.substitute)
    spec = document.plain("spec", substitute=settled.substitute, without=replaced)
    data |= {"metadata": {} if metadata is None else metadata, "spec": {} if spec is None else spec}
    if arguments and isinstance(data["spec"], dict):
        data["spec"]["arguments"] = list(arguments)
    file = document.validate(JOB_FILES[header.kind], data)
    return file.to_job(document, LocalFiles(yaml_document.local_path(source).parent.absolute()))


def _read_header(document: Document) -> tuple[Any, JobFile]:
    """Return the document with only those fields filled in that cannot have parameters, as data and as a model."""
    data: Any = []
    if isinstance(document.root, Table):
        data = {name: document.plain(name) if name in _WITHOUT_PARAMETERS else {} for name in document.root.entries}
    header = document.validate(JobFile, data)
    if header.kind not in JOB_FILES:
        raise document.locate("kind").error(f"unknown kind {quoted(header.kind)}; {suggestion(header.kind, JOB_FILES)}")
    return data, header
