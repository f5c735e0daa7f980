"""The job files of a HadoopJob and of a HadoopService, as pydantic models."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from cloudmesh.cluster.spec.common_model import (
    CommonSpec,
    Cores,
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
    Boolean,
    ClassName,
    ImageName,
    Text,
    at_least,
    check_memory,
    file_schema,
    memory_mb,
    text_schema,
)
from cloudmesh.cluster.spec.hadoop import EXAMPLES, HadoopJob, HadoopService, Step
from cloudmesh.cluster.spec.job import Executor, Resources
from cloudmesh.cluster.spec.local_files import LocalFiles, path_flaw
from cloudmesh.cluster.spec.yaml_document import quoted

MAX_INSTANCES = 1000
MAX_STEPS = 100
MIN_REPLICATION, MAX_REPLICATION = 2, 3
_EXAMPLES_WORD = "examples"
_IN_IMAGE = re.compile(r"local://(/[\w./+=@~-]+\.jar)")
_IN_HDFS = re.compile(r"/?[\w.+=@~][\w.+=@~-]*(?:/[\w.+=@~-]+)*")
_PROPERTY = re.compile(r"[A-Za-z0-9][\w.-]*")
# A job cannot change who is let in, where processes listen, and how the cluster recognizes the job's things.
_RESERVED_PROPERTIES = re.compile(
    r"hadoop\.(security|rpc|http|tmp|ssl|proxyuser)\..*|ipc\..*|fs\.defaultFS|ignore\..*"
    r"|dfs\.(data\.transfer|encrypt|web|block\.access).*|dfs\.(user\.home|client\.failover)\..*|dfs\.nameservices"
    r"|mapreduce\.job\.tags|.*[.-](address|port|bind-host|principal|keytab|keytab\.file|dir|dirs|port-range)|.*acl.*"
    r"|yarn\.nodemanager\..*"
)
# The least memory in which the processes and a program can run.
_HEAD_MB, _WORKER_MB = 1280, 1536
_HDFS_ALONE_MB = 512
_TOO_LITTLE = "Hadoop's processes would not fit"
_JOB_DEFAULTS, _SERVICE_DEFAULTS = HadoopJob("default"), HadoopService("default")
_HDFS_ALONE = HadoopService("default", yarn=False, head=Resources(1, 1024), worker=Executor(1, 768, 2))


def _check_property(name: str) -> str:
    if not _PROPERTY.fullmatch(name):
        raise ValueError("is no Hadoop property")
    if _RESERVED_PROPERTIES.fullmatch(name):
        raise ValueError("is set by the cluster and cannot be changed; remove it")
    return name


def _check_jar(text: str) -> str:
    if text == _EXAMPLES_WORD:
        return text
    if not text.startswith("local:"):
        if problem := path_flaw(text, (".jar",)):
            raise ValueError(problem)
        return text
    if not _IN_IMAGE.fullmatch(text):
        raise ValueError(f"{quoted(text)}: a jar in the image is written local:///folder/name.jar")
    return text


def _check_output(path: str) -> str:
    if not _IN_HDFS.fullmatch(path) or ".." in path.split("/"):
        raise ValueError(f"must be a path in HDFS, not {quoted(path)}")
    return path


_Properties = dict[Annotated[str, AfterValidator(_check_property), text_schema("Hadoop property", _PROPERTY)], Text]


class StepModel(FileModel):
    """One of several programs of a job."""

    main_class: ClassName = Field(
        default="", description="Its main class; without it, the job's `mainClass`.", examples=["org.example.Sort"]
    )
    arguments: list[Text] = Field(
        default_factory=list, description="Its arguments.", examples=[["terasort", "/rows", "/sorted"]]
    )


class HeadModel(ResourcesModel):
    """What the head needs: NameNode, ResourceManager, JobHistory and the program."""

    memory: Annotated[str, at_least(_HEAD_MB, _TOO_LITTLE), MEMORY_SCHEMA] = Field(
        default=default_size(_JOB_DEFAULTS.head),
        description=f"Memory of all its processes together, {_HEAD_MB}m or more; a job on a service gets half of it.",
        examples=["2g"],
    )


class WorkerModel(ResourcesModel):
    """What each worker needs: DataNode, NodeManager and tasks. A job on a service has no workers of its own."""

    memory: Annotated[str, at_least(_WORKER_MB, _TOO_LITTLE), MEMORY_SCHEMA] = Field(
        default=default_size(_JOB_DEFAULTS.worker),
        description=f"Memory of all its processes and tasks together, {_WORKER_MB}m or more.",
        examples=["4g"],
    )
    instances: Annotated[int, Between(1, MAX_INSTANCES)] = Field(
        default=_JOB_DEFAULTS.worker.instances, description="How many workers.", examples=[4]
    )


class FilesModel(FileModel):
    """Local files that travel with the job."""

    files: list[AnyFile] = Field(
        default_factory=list,
        description="Local files that its programs read where they run, by their names. One that an argument names "
        "travels without being listed, if it lies beside the job file.",
        examples=[["puzzle.dta"]],
    )


class HadoopJobSpec(CommonSpec):
    """What a HadoopJob is."""

    image: ImageName = Field(
        default=_JOB_DEFAULTS.image,
        description="Image of head and workers: one of ours (`cms cluster image list`), or any made from it.",
        examples=["registry:5000/team/hadoop:1"],
    )
    jar: Annotated[str, AfterValidator(_check_jar), file_schema((".jar",), f"{_EXAMPLES_WORD}|{_IN_IMAGE.pattern}")] = (
        Field(
            description="The program's jar, relative to the job file's folder; or local:///PATH, in the image; or "
            f"`{_EXAMPLES_WORD}`, Hadoop's own example programs.",
            examples=["app.jar", "examples"],
        )
    )
    main_class: ClassName = Field(
        default="",
        description="Main class of the jar; without it, the one in its manifest.",
        examples=["org.example.Main"],
    )
    program: Text = Field(
        default="",
        description="A word that goes before the arguments: which of a jar's programs is run.",
        examples=["pi"],
    )
    steps: list[StepModel] = Field(
        default_factory=list,
        description=f"Programs that run one after another instead of one, {MAX_STEPS} at most; the first that fails is "
        "the last. The job itself has no arguments then.",
        examples=[[{"arguments": ["teragen", 1000, "/rows"]}, {"arguments": ["terasort", "/rows", "/sorted"]}]],
        json_schema_extra={"maxItems": MAX_STEPS},
    )
    deps: FilesModel = Field(default_factory=FilesModel, description="Local files that travel with the job.")
    input: list[AnyFile] = Field(
        default_factory=list,
        description="Local files that are put into the folder `input` in HDFS before the program runs.",
        examples=[["text/opticks.txt"]],
    )
    output: Annotated[str, AfterValidator(_check_output), text_schema("path in HDFS", _IN_HDFS)] = Field(
        default="",
        description="File or folder in HDFS that becomes the job's results and must exist in the end; without it, "
        "`output`, if there is one.",
        examples=["/sorted"],
    )
    conf: _Properties = Field(
        default_factory=dict,
        description="Hadoop properties. What the cluster sets is refused.",
        examples=[{"mapreduce.job.reduces": 3}],
    )
    head: HeadModel = Field(default_factory=HeadModel, description="What the head and the program need.")
    worker: WorkerModel = Field(default_factory=WorkerModel, description="What each worker needs.")

    @model_validator(mode="after")
    def _check_steps(self) -> HadoopJobSpec:
        if self.steps and (self.program or self.arguments):
            raise FieldError("have arguments of their own; the job must have none", "steps")
        if len(self.steps) > MAX_STEPS:
            raise FieldError(f"are more than {MAX_STEPS}", "steps")
        return self


class HadoopJobFile(JobFile):
    """MapReduce programs, on an HDFS and YARN that come and go with the job, or on those of a HadoopService."""

    kind: Literal["HadoopJob"] = Field(description="Kind of the job.")
    metadata: Metadata = Field(description="What the job is called.")
    spec: HadoopJobSpec = Field(description="The job.")

    def to_job(self, document: Document, local: LocalFiles) -> HadoopJob:
        """Return the job, with its local files found."""
        spec = self.spec
        match = _IN_IMAGE.fullmatch(spec.jar)
        in_image = EXAMPLES if spec.jar == _EXAMPLES_WORD else match[1] if match else ""
        values = common_values(self.metadata, spec, document)
        if spec.program:
            values["arguments"] = (spec.program, *values["arguments"])
        steps = tuple(Step(step.main_class, tuple(step.arguments)) for step in spec.steps)
        named = [word for words in (values["arguments"], *(step.arguments for step in steps)) for word in words]
        listed = {PurePath(file).name for file in (*spec.deps.files, *spec.input)}
        attached = find_files(local, document, spec.deps.files, "spec", "deps", "files")
        job = HadoopJob(
            **values,
            jar=None if in_image else local.find(spec.jar, document.locate("spec", "jar")),
            jar_in_image=in_image,
            main_class=spec.main_class,
            steps=steps,
            attached=(*attached, *local.find_named(named, listed, document.locate("spec", "arguments"))),
            input=find_files(local, document, spec.input, "spec", "input"),
            output=spec.output,
            conf=spec.conf,
            head=spec.head.to_resources(),
            worker=Executor(spec.worker.cores, memory_mb(spec.worker.memory), spec.worker.instances),
        )
        local.check_together()
        return job


def _service_memory(with_yarn: Resources, alone: Resources, least_mb: int) -> Any:
    """Return the field of a memory whose default and bound depend on `yarn`."""
    return Field(
        default=None,
        description=f"Memory of all its processes together, {least_mb}m or more; {_HDFS_ALONE_MB}m without YARN. "
        f"Without it, {default_size(with_yarn)}; {default_size(alone)} without YARN.",
        examples=["4g"],
    )


_ServiceMemory = Annotated[str, at_least(0), MEMORY_SCHEMA]


class ServiceHeadModel(FileModel):
    """What the head needs: NameNode, and with YARN ResourceManager and JobHistory."""

    cores: Cores = Field(default=1, description="Whole processors.", examples=[2])
    memory: _ServiceMemory | None = _service_memory(_SERVICE_DEFAULTS.head, _HDFS_ALONE.head, _HEAD_MB)


class ServiceWorkerModel(FileModel):
    """What each worker needs: DataNode, and with YARN NodeManager and tasks."""

    cores: Cores = Field(default=1, description="Whole processors.", examples=[2])
    memory: _ServiceMemory | None = _service_memory(_SERVICE_DEFAULTS.worker, _HDFS_ALONE.worker, _WORKER_MB)
    instances: Annotated[int, Between(MIN_REPLICATION, MAX_INSTANCES)] = Field(
        default=_SERVICE_DEFAULTS.worker.instances,
        description="How many workers, each on a host of its own.",
        examples=[3],
    )


class HadoopServiceSpec(CommonSpec):
    """What a HadoopService is."""

    image: ImageName = Field(
        default=_SERVICE_DEFAULTS.image,
        description="Image of head and workers: one of ours (`cms cluster image list`), or any made from it.",
        examples=["registry:5000/team/hadoop:1"],
    )
    arguments: list[Text] = Field(
        default_factory=list,
        description="Must be empty: a service runs no program.",
        examples=[[]],
        json_schema_extra={"maxItems": 0},
    )
    yarn: Boolean = Field(
        default=_SERVICE_DEFAULTS.yarn,
        description="Whether it runs Hadoop jobs; otherwise it is an HDFS alone, and takes less memory.",
        examples=[False],
    )
    conf: _Properties = Field(
        default_factory=dict,
        description="Hadoop properties. What the cluster sets is refused.",
        examples=[{"dfs.blocksize": "64m"}],
    )
    head: ServiceHeadModel = Field(default_factory=ServiceHeadModel, description="What the head needs.")
    worker: ServiceWorkerModel = Field(default_factory=ServiceWorkerModel, description="What each worker needs.")
    replication: (
        Annotated[int, WithJsonSchema({"type": "integer", "minimum": MIN_REPLICATION, "maximum": MAX_REPLICATION})]
        | None
    ) = Field(
        default=None,
        description="How many workers have each block: as many as there are workers, or fewer. Without it, as many as "
        f"possible, {MAX_REPLICATION} at most.",
        examples=[2],
    )

    @field_validator("head", "worker")
    @classmethod
    def _check_memory(
        cls, section: ServiceHeadModel | ServiceWorkerModel, info: ValidationInfo
    ) -> ServiceHeadModel | ServiceWorkerModel:
        least = {"head": _HEAD_MB, "worker": _WORKER_MB}[str(info.field_name)]
        try:
            if section.memory is not None:
                check_memory(section.memory, least if info.data.get("yarn", True) else _HDFS_ALONE_MB, _TOO_LITTLE)
        except ValueError as error:
            raise FieldError(str(error), "memory") from None
        return section

    @field_validator("replication", mode="before")
    @classmethod
    def _check_replication(cls, value: Any, info: ValidationInfo) -> Any:
        worker = info.data.get("worker", ServiceWorkerModel())
        return Between(MIN_REPLICATION, min(worker.instances, MAX_REPLICATION)).read(value)

    @model_validator(mode="after")
    def _check_service(self) -> HadoopServiceSpec:
        if self.arguments:
            raise FieldError("a service runs no program, and takes no arguments", "arguments")
        if len(self.storage) != 1:
            raise FieldError(
                "must name one place, a directory on the hosts: the data of the service goes there", "storage"
            )
        if self.storage[0].read_only:
            raise FieldError("is readOnly: the data of the service goes there", "storage")
        return self


class HadoopServiceFile(JobFile):
    """An HDFS and YARN that stay until they are stopped; their data is in a volume, a directory on the hosts."""

    kind: Literal["HadoopService"] = Field(description="Kind of the job.")
    metadata: Metadata = Field(description="What the job is called.")
    spec: HadoopServiceSpec = Field(description="The job.")

    def to_job(self, document: Document, local: LocalFiles) -> HadoopService:
        """Return the service; it has no local files."""
        spec, worker = self.spec, self.spec.worker
        default = _SERVICE_DEFAULTS if spec.yarn else _HDFS_ALONE
        head_mb = memory_mb(spec.head.memory or default_size(default.head))
        worker_mb = memory_mb(worker.memory or default_size(default.worker))
        return HadoopService(
            **common_values(self.metadata, spec, document),
            replication=spec.replication or min(worker.instances, MAX_REPLICATION),
            yarn=spec.yarn,
            conf=spec.conf,
            head=Resources(spec.head.cores, head_mb),
            worker=Executor(worker.cores, worker_mb, worker.instances),
        )
