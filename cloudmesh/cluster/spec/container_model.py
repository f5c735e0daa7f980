"""The job file of a ContainerJob, as pydantic models."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from cloudmesh.cluster.spec.common_model import (
    CommonSpec,
    JobFile,
    Metadata,
    ResourcesModel,
    common_values,
    default_size,
    find_files,
)
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.document import Document, FieldError
from cloudmesh.cluster.spec.field_types import MEMORY_SCHEMA, AnyFile, Between, Text, at_least, text_schema
from cloudmesh.cluster.spec.local_files import LocalFiles
from cloudmesh.cluster.spec.yaml_document import quoted

MAX_COUNT = 1000
MAX_PORTS = 16
MIN_MEMORY_MB = 16
_DEFAULTS = ContainerJob("default")
_PORT = re.compile(r"[a-z][a-z0-9]{0,14}")


def _check_port(name: str) -> str:
    if not _PORT.fullmatch(name):
        raise ValueError(
            f"{quoted(name)} is no name of a port: use 1 to 15 lower-case letters and digits, a letter first"
        )
    return name


class TaskResources(ResourcesModel):
    """What each task needs."""

    memory: Annotated[str, at_least(MIN_MEMORY_MB), MEMORY_SCHEMA] = Field(
        default=default_size(_DEFAULTS.needs),
        description=f"All the memory that the task gets, {MIN_MEMORY_MB}m or more.",
        examples=["256m"],
    )


class ContainerSpec(CommonSpec):
    """What a ContainerJob is."""

    command: list[Text] = Field(
        default_factory=list,
        description="Replaces the image's entry point; the arguments follow it.",
        examples=[["sh", "-c"]],
    )
    count: Annotated[int, Between(1, MAX_COUNT)] = Field(
        default=_DEFAULTS.count, description="How many equal tasks.", examples=[3]
    )
    resources: TaskResources = Field(default_factory=TaskResources, description="What each task needs.")
    ports: list[Annotated[str, AfterValidator(_check_port), text_schema("port name", _PORT)]] = Field(
        default_factory=list,
        description="Names of the ports that each task listens on; `$CMS_PORT_HTTP` is the number of port `http`.",
        examples=[["http"]],
        json_schema_extra={"maxItems": MAX_PORTS, "uniqueItems": True},
    )
    files: list[AnyFile] = Field(
        default_factory=list,
        description="Local files that travel with the job; in its tasks they lie side by side in `$CMS_JOB_DIR`.",
        examples=[["run.sh", "data/words.txt"]],
    )

    @field_validator("ports")
    @classmethod
    def _check_ports(cls, ports: list[str]) -> list[str]:
        if len(ports) > MAX_PORTS:
            raise ValueError(f"more than {MAX_PORTS} ports")
        for index, name in enumerate(ports):
            if name in ports[:index]:
                raise FieldError(f"{name} is given a second time", index)
        return ports


class ContainerJobFile(JobFile):
    """Equal tasks of any image."""

    kind: Literal["ContainerJob"] = Field(description="Kind of the job.")
    metadata: Metadata = Field(description="What the job is called.")
    spec: ContainerSpec = Field(description="The job.")

    def to_job(self, document: Document, local: LocalFiles) -> ContainerJob:
        """Return the job, with its local files found."""
        spec = self.spec
        job = ContainerJob(
            **common_values(self.metadata, spec, document),
            command=tuple(spec.command),
            attached=find_files(local, document, spec.files, "spec", "files"),
            count=spec.count,
            needs=spec.resources.to_resources(),
            ports=tuple(spec.ports),
        )
        local.check_together()
        return job
