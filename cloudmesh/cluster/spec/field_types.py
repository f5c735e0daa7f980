"""The types of single values in a job file: what they may be, how a wrong one is refused, and their JSON Schema.

Validators raise ValueError with what is wrong; `Document.validate` puts file, line and field before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import local_files
from cloudmesh.cluster.spec.yaml_document import INTEGER, quoted

MAX_MEMORY_MB = 4 << 20
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_MEMORY = re.compile(r"([0-9]{1,9})([mg])", re.IGNORECASE)
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?:[a-z0-9-]+\.)*[a-z0-9-]+(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_CLASS = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = re.compile(r"[\w./+=@~-]{1,255}", re.ASCII)
# Nomad mounts the last three in each task.
_RESERVED_PATHS = ("/opt/cloudmesh", "/proc", "/sys", "/dev", "/etc", "/local", "/alloc", "/secrets")
_RESERVED_VARIABLES = ("CMS_", "SPARK_", "NOMAD_", "KUBERNETES_")


def text_schema(type_name: str, pattern: re.Pattern[str] | str, **more: Any) -> WithJsonSchema:
    """Return the JSON Schema of a text.

    Args:
        type_name: what the documentation calls the type.
        pattern: of the whole text.
        more: further keywords of JSON Schema.
    """
    expression = pattern if isinstance(pattern, str) else pattern.pattern
    return WithJsonSchema({"type": "string", "format": type_name, "pattern": f"^(?:{expression})$", **more})


@dataclass(frozen=True)
class Between:
    """Metadata of an `int`: the whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return pydantic's schema, whose bounds are those of the JSON Schema."""
        number = core_schema.int_schema(ge=self.low, le=self.high)
        return core_schema.no_info_before_validator_function(self.read, number)

    def read(self, value: Any) -> Any:
        """Return the number that a `Word` is; what is no single value is left to pydantic to refuse.

        Raises:
            ValueError: the word is no whole number, or out of bounds.
        """
        if not isinstance(value, str):
            return value
        if _kind(value) == "int" and INTEGER.fullmatch(value) and self.low <= int(value) <= self.high:
            return int(value)
        raise ValueError(f"must be a whole number from {self.low} to {self.high}, not {_quoted(value)}")


def _read_boolean(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if _kind(value) == "bool" and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise ValueError(f"must be true or false, not {_quoted(value)}")


def _kind(value: str) -> str:
    return getattr(value, "kind", "str")


def _quoted(value: str) -> str:
    looks_right = _kind(value) == "str" and (INTEGER.fullmatch(value) or value.lower() in _BOOLEANS)
    return f"the text {quoted(value)}" if looks_right else quoted(value)


def memory_mb(size: str) -> int:
    """Return the MiB of a size like "512m" or "2g".

    Raises:
        ValueError: the text is no such size, or more than a process can have.
    """
    match = _MEMORY.fullmatch(size)
    if not match:
        raise ValueError(f"must be a size like 512m or 2g, not {quoted(size)}")
    megabytes = int(match[1]) * (1024 if match[2] in "gG" else 1)
    if megabytes > MAX_MEMORY_MB:
        raise ValueError(f"{quoted(size)} is more than {MAX_MEMORY_MB >> 10}g, which no process can have")
    return megabytes


def check_memory(size: str, least: int, because: str = "") -> str:
    """Return a size that is at least `least` MiB.

    Args:
        size: like "512m" or "2g".
        least: the smallest size, in MiB.
        because: why it must not be less, in words.

    Raises:
        ValueError: the text is no such size, or out of bounds.
    """
    if memory_mb(size) < least:
        why = f"{because}, " if because else ""
        raise ValueError(f"{size} is too little: {why}give {least}m or more")
    return size


def at_least(least: int, because: str = "") -> AfterValidator:
    """Return the validator of a memory size; see `check_memory`."""
    return AfterValidator(lambda size: check_memory(size, least, because))


def _check_image(name: str) -> str:
    if len(name) > 255 or not _IMAGE.fullmatch(name):
        raise ValueError(f"{quoted(name)} is no name of an image, like spark or registry:5000/name:tag")
    return name


def _read_mount(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f"must be an absolute path, not {quoted(text)}")
    path = "/" + "/".join(part for part in text.split("/") if part not in ("", "."))
    if not _PATH.fullmatch(path):
        raise ValueError(f"{quoted(text)}: a mount is written with letters, digits and any of . _ + = @ ~ -")
    if path == "/" or any(f"{path}/".startswith(f"{reserved}/") for reserved in _RESERVED_PATHS):
        raise ValueError(f"{path} is where a task has something else; choose a path like /data")
    return path


def _check_class(name: str) -> str:
    if not _CLASS.fullmatch(name):
        raise ValueError(f"{quoted(name)} is no name of a class, like org.example.Main")
    return name


def _check_variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("is no name of an environment variable: use letters, digits and '_', not a digit first")
    if name.startswith(_RESERVED_VARIABLES):
        raise ValueError(f"is set by the cluster; names must not start with {', '.join(_RESERVED_VARIABLES)}")
    return name


def label(what: str) -> AfterValidator:
    """Return the validator of a name that becomes part of other names: an RFC 1123 label.

    Args:
        what: what is named, for the message: "job name".
    """

    def check(name: str) -> str:
        try:
            return names.check(name, what)
        except UsageError as error:
            raise ValueError(str(error)) from None

    return AfterValidator(check)


def file_name(suffixes: tuple[str, ...] = ()) -> AfterValidator:
    """Return the validator of the path of a local file, which need not exist yet.

    Args:
        suffixes: how its name may end; none: anyhow.
    """

    def check(path: str) -> str:
        if problem := local_files.path_flaw(path, suffixes):
            raise ValueError(problem)
        return path

    return AfterValidator(check)


def file_schema(suffixes: tuple[str, ...] = (), alternative: str = "") -> WithJsonSchema:
    """Return the JSON Schema of the path of a local file.

    Args:
        suffixes: how its name may end; none: anyhow.
        alternative: a pattern of what may stand there instead.
    """
    ends = "|".join(re.escape(suffix) for suffix in suffixes)
    pattern = f".*(?:{ends})" if suffixes else ".+"
    return text_schema("file", f"{pattern}|{alternative}" if alternative else pattern)


LABEL_SCHEMA = text_schema("name", r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", maxLength=names.MAX_LENGTH)
MEMORY_SCHEMA = text_schema("memory size", "[0-9]{1,9}[mgMG]")

# What YAML takes for a number or a truth value is text all the same, as it is written.
Text = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]
Boolean = Annotated[bool, BeforeValidator(_read_boolean)]
ImageName = Annotated[str, AfterValidator(_check_image), text_schema("image", _IMAGE, maxLength=255)]
ClassName = Annotated[str, AfterValidator(_check_class), text_schema("Java class", _CLASS)]
VariableName = Annotated[str, AfterValidator(_check_variable), text_schema("variable", _VARIABLE)]
MountPath = Annotated[str, AfterValidator(_read_mount), text_schema("absolute path", r"/.+")]
AnyFile = Annotated[str, file_name(), file_schema()]
JarFile = Annotated[str, file_name((".jar",)), file_schema((".jar",))]
