"""The job file of a SparkJob, as pydantic models."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cloudmesh.cluster.spec import local_files
from cloudmesh.cluster.spec.common_model import (
    CommonSpec,
    FileModel,
    JobFile,
    Metadata,
    ResourcesModel,
    common_values,
    default_size,
    find_files,
)
from cloudmesh.cluster.spec.document import Document, FieldError
from cloudmesh.cluster.spec.field_types import (
    MEMORY_SCHEMA,
    AnyFile,
    Between,
    ClassName,
    ImageName,
    JarFile,
    Text,
    at_least,
    file_name,
    file_schema,
    memory_mb,
    text_schema,
)
from cloudmesh.cluster.spec.job import Executor
from cloudmesh.cluster.spec.local_files import LocalFiles, path_flaw, read_main_class
from cloudmesh.cluster.spec.spark import Dependencies, SparkJob
from cloudmesh.cluster.spec.yaml_document import quoted

MAX_INSTANCES = 1000
MIN_MEMORY_MB = 512
_DEFAULTS = SparkJob("default")
_IN_IMAGE = re.compile(r"local://(/[\w./+=@~-]+)")
_PROPERTY = re.compile(r"spark\.[A-Za-z0-9._/-]+")
_FIELD_OF_PROPERTY = {
    "spark.app.name": "metadata.name",
    "spark.driver.cores": "spec.driver.cores",
    "spark.driver.memory": "spec.driver.memory",
    "spark.executor.cores": "spec.executor.cores",
    "spark.executor.memory": "spec.executor.memory",
    "spark.executor.instances": "spec.executor.instances",
    "spark.cores.max": "spec.executor.instances and spec.executor.cores",
    "spark.jars": "spec.deps.jars",
    "spark.files": "spec.deps.files",
    "spark.submit.pyFiles": "spec.deps.pyFiles",
}
_RESERVED_PROPERTIES = (
    "spark.master",
    "spark.submit.deployMode",
    "spark.driver.host",
    "spark.driver.bindAddress",
    "spark.driver.port",
    "spark.driver.blockManager.port",
    "spark.blockManager.port",
    "spark.ui.enabled",
    "spark.ui.port",
    "spark.ui.killEnabled",
)
_RESERVED_PREFIXES = ("spark.authenticate", "spark.network.crypto.", "spark.ssl.", "spark.kubernetes.")


def _check_property(name: str) -> str:
    if not _PROPERTY.fullmatch(name):
        raise ValueError("is no Spark property: their names start with 'spark.'")
    if name in _FIELD_OF_PROPERTY:
        raise ValueError(f"is set by the cluster; use {_FIELD_OF_PROPERTY[name]}")
    if name.startswith("spark.executorEnv."):
        raise ValueError("use spec.env, which the executors get too")
    if name in _RESERVED_PROPERTIES or name.startswith(_RESERVED_PREFIXES):
        raise ValueError("is set by the cluster and cannot be changed; remove it")
    return name


def _check_main(text: str) -> str:
    if not text.startswith("local:"):
        if problem := path_flaw(text, local_files.MAIN_SUFFIXES):
            raise ValueError(problem)
        return text
    match = _IN_IMAGE.fullmatch(text)
    if not match or not match[1].endswith(local_files.MAIN_SUFFIXES):
        raise ValueError(f"{quoted(text)}: a file in the image is written local:///folder/name.py or .jar")
    return text


_PythonFile = Annotated[str, file_name(local_files.PYTHON_SUFFIXES), file_schema(local_files.PYTHON_SUFFIXES)]
_HeapSize = Annotated[str, at_least(MIN_MEMORY_MB, "Spark refuses less than 471m"), MEMORY_SCHEMA]


class DependenciesModel(FileModel):
    """Local files that travel with the job; in its tasks they lie side by side in `$CMS_JOB_DIR`."""

    jars: list[JarFile] = Field(
        default_factory=list, description="Jars on the classpath of driver and executors.", examples=[["lib.jar"]]
    )
    py_files: list[_PythonFile] = Field(
        default_factory=list, description="Python modules: .py, .zip or .egg.", examples=[["util.py"]]
    )
    files: list[AnyFile] = Field(default_factory=list, description="Any other files.", examples=[["data.txt"]])


class DriverModel(ResourcesModel):
    """What the driver needs."""

    memory: _HeapSize = Field(
        default=default_size(_DEFAULTS.driver),
        description=f"Its Java heap, {MIN_MEMORY_MB}m or more; what the process takes beside it is added.",
        examples=["2g"],
    )


class ExecutorModel(DriverModel):
    """What each executor needs."""

    instances: Annotated[int, Between(1, MAX_INSTANCES)] = Field(
        default=_DEFAULTS.executor.instances, description="How many executors.", examples=[3]
    )


class SparkSpec(CommonSpec):
    """What a SparkJob is."""

    image: ImageName = Field(
        default=_DEFAULTS.image,
        description="Image of driver and executors: one of ours (`cms cluster image list`), or any with Spark.",
        examples=["registry:5000/team/spark:1"],
    )
    main_application_file: Annotated[
        str, AfterValidator(_check_main), file_schema(local_files.MAIN_SUFFIXES, _IN_IMAGE.pattern)
    ] = Field(
        description="The program: a .py or .jar, relative to the job file's folder; or local:///PATH, in the image.",
        examples=["main.py", "local:///opt/app/main.jar"],
    )
    main_class: ClassName = Field(
        default="",
        description="Main class of a .jar. Without it, the jar's manifest must name one; a jar in the image needs it.",
        examples=["org.example.Main"],
    )
    spark_conf: dict[
        Annotated[str, AfterValidator(_check_property), text_schema("Spark property", _PROPERTY)], Text
    ] = Field(
        default_factory=dict,
        description="Spark properties. What the cluster or other fields set is refused.",
        examples=[{"spark.sql.shuffle.partitions": 8}],
    )
    deps: DependenciesModel = Field(
        default_factory=DependenciesModel,
        description="Local files that travel with the job; in its tasks they lie side by side in `$CMS_JOB_DIR`.",
    )
    driver: DriverModel = Field(default_factory=DriverModel, description="What the driver needs.")
    executor: ExecutorModel = Field(default_factory=ExecutorModel, description="What each executor needs.")

    @model_validator(mode="after")
    def _check_main_class(self) -> SparkSpec:
        is_jar = self.main_application_file.endswith(".jar")
        if self.main_class and not is_jar:
            raise FieldError("belongs to a .jar; remove it", "mainClass")
        if is_jar and not self.main_class and _IN_IMAGE.fullmatch(self.main_application_file):
            raise FieldError("is missing; a jar in the image needs it", "mainClass")
        return self


class SparkJobFile(JobFile):
    """A Spark application."""

    kind: Literal["SparkJob"] = Field(description="Kind of the job.")
    metadata: Metadata = Field(description="What the job is called.")
    spec: SparkSpec = Field(description="The job.")

    def to_job(self, document: Document, local: LocalFiles) -> SparkJob:
        """Return the job, with its local files found."""
        spec = self.spec
        match = _IN_IMAGE.fullmatch(spec.main_application_file)
        location = document.locate("spec", "mainApplicationFile")
        main = None if match else local.find(spec.main_application_file, location)
        is_class_in_jar = main is not None and main.suffix == ".jar" and not spec.main_class
        job = SparkJob(
            **common_values(self.metadata, spec, document),
            main=main,
            main_in_image=match[1] if match else "",
            main_class=read_main_class(main, location) if main and is_class_in_jar else spec.main_class,
            spark_conf=spec.spark_conf,
            deps=Dependencies(
                jars=find_files(local, document, spec.deps.jars, "spec", "deps", "jars"),
                py_files=find_files(local, document, spec.deps.py_files, "spec", "deps", "pyFiles"),
                files=find_files(local, document, spec.deps.files, "spec", "deps", "files"),
            ),
            driver=spec.driver.to_resources(),
            executor=Executor(spec.executor.cores, memory_mb(spec.executor.memory), spec.executor.instances),
        )
        local.check_together()
        return job
