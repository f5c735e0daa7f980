"""The sections of a job file that every kind has, as pydantic models.

The models are the one description of the file: they check it, and its JSON Schema and docs/job-file.md are made from
them. A field is called in the file as here, but in camelCase. Its order here is that of the checks and of the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from cloudmesh.cluster.spec.document import Document, FieldError, suggestion
from cloudmesh.cluster.spec.field_types import (
    LABEL_SCHEMA,
    MEMORY_SCHEMA,
    Between,
    Boolean,
    ImageName,
    MountPath,
    Text,
    VariableName,
    at_least,
    label,
    memory_mb,
    text_schema,
)
from cloudmesh.cluster.spec.job import (
    API_VERSION,
    STORAGE_REFERENCE,
    JobSpec,
    Resources,
    Secret,
    VolumeClaim,
)
from cloudmesh.cluster.spec.local_files import LocalFiles
from cloudmesh.cluster.spec.yaml_document import quoted

MAX_CORES = 512
MAX_RETRIES = 20
MAX_SECONDS = 30 * 86400
MIN_TTL_SECONDS = 60
MIN_LOG_MB = 1
PARAMETER_TYPES = ("string", "int", "float", "bool", "choice")
_DEFAULTS = JobSpec("default")
_DEFAULT_RESOURCES = Resources()
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_PARAMETER_REFERENCE = re.compile(r"\$\{params\.")


class FileModel(BaseModel):
    """A section of a file: a mapping with certain fields."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _check_fields(cls, data: Any) -> Any:
        """Refuse unknown fields, and read fields without a value.

        A section, list or mapping with nothing after its colon is empty. A required field whose text is empty is
        missing.
        """
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        for name in data:
            if name not in fields:
                raise FieldError(f"unknown field; {suggestion(name, fields)}", name)
        given = {name: value for name, value in data.items() if value is not None or not fields[name].default_factory}
        for name, value in given.items():
            if value is None:
                raise FieldError('has no value; an empty text is written ""', name)
        return {name: value for name, value in given.items() if value != "" or not fields[name].is_required()}


class Metadata(FileModel):
    """What the job is called."""

    name: Annotated[str, label("job name"), LABEL_SCHEMA] = Field(
        description="Name of the job; its id is made from it. 1 to 40 lower-case letters, digits and '-'.",
        examples=["wordcount"],
    )


class ParameterDeclaration(FileModel):
    """One parameter: its value stands wherever the file says `${params.NAME}`."""

    type: Annotated[str, Field(json_schema_extra={"enum": list(PARAMETER_TYPES)})] = Field(
        default="string", description="What its value may be.", examples=["int"]
    )
    choices: list[Text] = Field(
        default_factory=list, description="The values that a parameter of type `choice` may have.", examples=[[1, 2, 4]]
    )
    required: Boolean = Field(
        default=False, description="Whether a value must be given even if nothing refers to it.", examples=[True]
    )
    default: Text | None = Field(
        default=None, description="Its value if none is given. It cannot refer to other parameters.", examples=[10]
    )
    description: Text = Field(
        default_factory=str, description="What it means, for readers.", examples=["how many words to print"]
    )

    @field_validator("type")
    @classmethod
    def _check_type(cls, name: str) -> str:
        if name not in PARAMETER_TYPES:
            raise ValueError(f"unknown type {quoted(name)}; {suggestion(name, PARAMETER_TYPES)}")
        return name

    @field_validator("default")
    @classmethod
    def _check_default(cls, text: str | None) -> str | None:
        if text is not None and _PARAMETER_REFERENCE.search(text):
            raise ValueError("cannot refer to a parameter")
        return text

    @model_validator(mode="after")
    def _check_choices(self) -> ParameterDeclaration:
        if bool(self.choices) != (self.type == "choice"):
            raise FieldError("belongs to type: choice, which needs at least one", "choices")
        return self


def _check_parameter_name(name: str) -> str:
    if not _PARAMETER_NAME.fullmatch(name):
        raise FieldError(
            f"{quoted(name)} is no name for a parameter: use up to 40 letters, digits, '_' and '-', not a digit first",
            field="params",
        )
    return name


ParameterName = Annotated[str, AfterValidator(_check_parameter_name), text_schema("parameter name", _PARAMETER_NAME)]


class StorageClaim(FileModel):
    """A volume that the job uses."""

    name: Annotated[str, label("storage name"), LABEL_SCHEMA] = Field(
        description="Name of the volume, from `cms cluster storage -n NAME list`.", examples=["data"]
    )
    mount: MountPath = Field(description="Absolute path at which its tasks find the volume's data.", examples=["/data"])
    read_only: Boolean = Field(default=False, description="Whether its tasks cannot write there.", examples=[True])


class SecretClaim(FileModel):
    """A secret that the job gets."""

    name: Annotated[str, label("secret name"), LABEL_SCHEMA] = Field(
        description="Name of the secret, for messages.", examples=["s3"]
    )
    env: list[VariableName] = Field(
        description="The environment variables that the secret's values go to. Their values are never in a job file: "
        "they come from `--secrets=FILE`, the environment of `cms`, or a question.",
        examples=[["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]],
        min_length=1,
    )

    @field_validator("env", mode="before")
    @classmethod
    def _check_env(cls, value: Any) -> Any:
        if value in (None, []):
            raise ValueError("is missing: the environment variables that the secret's values go to")
        return value


class CommonSpec(FileModel):
    """The fields of `spec` that jobs of every kind have."""

    image: ImageName = Field(
        description="Image of all tasks: one of ours (`cms cluster image list`), or any that the cluster can pull.",
        examples=["registry:5000/team/spark:1"],
    )
    arguments: list[Text] = Field(
        default_factory=list,
        description="Arguments of the program. Those given after the job file on the command line replace them.",
        examples=[["--verbose", 10]],
    )
    env: dict[VariableName, Text] = Field(
        default_factory=dict, description="Environment variables of all tasks.", examples=[{"TZ": "UTC"}]
    )
    secrets: list[SecretClaim] = Field(
        default_factory=list,
        description="Secrets whose values the tasks get as environment variables.",
        examples=[[{"name": "s3", "env": ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]}]],
    )
    storage: list[StorageClaim] = Field(
        default_factory=list,
        description="Volumes that the tasks use. `${storage.NAME}` in arguments and variables is the URI of one.",
        examples=[[{"name": "data", "mount": "/data"}]],
    )
    retries: Annotated[int, Between(0, MAX_RETRIES)] = Field(
        default=_DEFAULTS.retries, description="How often the job is run again after it failed.", examples=[2]
    )
    timeout_seconds: Annotated[int, Between(0, MAX_SECONDS)] = Field(
        default=_DEFAULTS.timeout_seconds,
        description="How many seconds the job may run; 0: without a limit.",
        examples=[600],
    )
    ttl_seconds: Annotated[int, Between(MIN_TTL_SECONDS, MAX_SECONDS)] = Field(
        default=_DEFAULTS.ttl_seconds,
        description="How many seconds the job, its output and its results are kept after its end.",
        examples=[3600],
    )
    log_limit: Annotated[str, at_least(MIN_LOG_MB), MEMORY_SCHEMA] = Field(
        default=f"{_DEFAULTS.log_limit_mb}m",
        description=f"How much is kept of what each task prints, {MIN_LOG_MB}m or more. Of a task that prints more, "
        "the first and the last part are kept, and a line between them says how many bytes are missing.",
        examples=["64m"],
    )

    @field_validator("secrets")
    @classmethod
    def _check_variables(cls, secrets: list[SecretClaim], info: ValidationInfo) -> list[SecretClaim]:
        """Refuse a variable that is set twice: it would depend on the engine which value wins."""
        set_by = dict.fromkeys(info.data.get("env", ()), "spec.env")
        for index, secret in enumerate(secrets):
            for at, variable in enumerate(secret.env):
                if variable in set_by:
                    raise FieldError(f"{variable} is set by {set_by[variable]} already", index, "env", at)
                set_by[variable] = f"spec.secrets[{index}].env[{at}]"
        return secrets

    @field_validator("storage")
    @classmethod
    def _check_mounts(cls, storage: list[StorageClaim]) -> list[StorageClaim]:
        """Refuse a volume that is named twice, and a mount that hides another."""
        for index, claim in enumerate(storage):
            for other in storage[:index]:
                if other.name == claim.name:
                    raise FieldError(f"storage {claim.name} is named a second time", index, "name")
                mounts = (f"{claim.mount}/", f"{other.mount}/")
                if mounts[0].startswith(mounts[1]) or mounts[1].startswith(mounts[0]):
                    raise FieldError(f"{claim.mount} and {other.mount} are within each other", index, "mount")
        return storage

    @model_validator(mode="after")
    def _check_references(self) -> CommonSpec:
        """Refuse `${storage.NAME}` without such a volume."""
        volumes = [claim.name for claim in self.storage]
        check = partial(_check_storage_references, volumes)
        check(self.env.items(), "env")
        check(enumerate(self.arguments), "arguments")
        return self


def _check_storage_references(volumes: list[str], texts: Iterable[tuple[str | int, str]], field: str) -> None:
    for step, text in texts:
        for escape, volume in STORAGE_REFERENCE.findall(text):
            if not escape and volume not in volumes:
                problem = f"no storage {quoted(volume)} under spec.storage; {suggestion(volume, volumes)}"
                raise FieldError(problem, field, step)


def default_size(resources: Resources) -> str:
    """Return the memory of default resources as a job file says it."""
    return f"{resources.memory_mb}m"


Cores = Annotated[int, Between(1, MAX_CORES)]


class ResourcesModel(FileModel):
    """What one process or task needs; each kind adds `memory`, with its own bounds and default."""

    cores: Cores = Field(default=_DEFAULT_RESOURCES.cores, description="Whole processors.", examples=[2])
    memory: str = Field(default=default_size(_DEFAULT_RESOURCES))

    def to_resources(self) -> Resources:
        """Return the resources as the program has them."""
        return Resources(self.cores, memory_mb(self.memory))


def _check_api_version(version: str) -> str:
    if version != API_VERSION:
        raise ValueError(f"must be {API_VERSION}, not {quoted(version)}; no such version")
    return version


class JobFile(FileModel):
    """A job file; its kind says what may be under `spec`.

    In this model, `metadata` and `spec` may be anything: they can only be checked when the parameters, which it reads,
    are filled in. The model of each kind checks them.
    """

    api_version: Annotated[str, AfterValidator(_check_api_version), WithJsonSchema({"const": API_VERSION})] = Field(
        description="Version of the job file.", examples=[API_VERSION]
    )
    kind: str = Field(description="Kind of the job.", examples=["SparkJob"])
    metadata: Any = None
    params: dict[ParameterName, ParameterDeclaration] = Field(
        default_factory=dict,
        description="Parameters by name. `${params.NAME}` in a value of `metadata` and `spec` is replaced by the value "
        "from `--param=NAME=VALUE`, `--params=FILE` or the default.",
        examples=[{"slices": {"type": "int", "default": 10}}],
    )
    spec: Any = None

    def to_job(self, document: Document, local: LocalFiles) -> JobSpec:
        """Return the job, with its local files found.

        Args:
            document: where the fields stand.
            local: finds the files.

        Raises:
            UsageError: a local file does not exist, cannot be read, or cannot travel with the others.
        """
        raise NotImplementedError


class CommonValues(TypedDict):
    """What the constructor of every JobSpec takes."""

    name: str
    image: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    retries: int
    timeout_seconds: int
    ttl_seconds: int
    log_limit_mb: int
    storage: tuple[VolumeClaim, ...]
    secrets: tuple[Secret, ...]


def common_values(metadata: Metadata, spec: CommonSpec, document: Document) -> CommonValues:
    """Return what a file says of a job of any kind."""
    return CommonValues(
        name=metadata.name,
        image=spec.image,
        arguments=tuple(spec.arguments),
        env=spec.env,
        retries=spec.retries,
        timeout_seconds=spec.timeout_seconds,
        ttl_seconds=spec.ttl_seconds,
        log_limit_mb=memory_mb(spec.log_limit),
        storage=tuple(VolumeClaim(claim.name, claim.mount, claim.read_only) for claim in spec.storage),
        secrets=tuple(
            Secret(
                secret.name,
                tuple(secret.env),
                tuple(document.locate("spec", "secrets", index, "env", at) for at in range(len(secret.env))),
            )
            for index, secret in enumerate(spec.secrets)
        ),
    )


def find_files(local: LocalFiles, document: Document, texts: Iterable[str], *path: str) -> tuple[Path, ...]:
    """Return the local files that the list at a path of the document names.

    Raises:
        UsageError: one does not exist or cannot be read.
    """
    return tuple(local.find(text, document.locate(*path, index)) for index, text in enumerate(texts))
