"""The fields of a job file that jobs of every kind have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import local_files, validators
from cloudmesh.cluster.spec.fields import Fields, suggestion
from cloudmesh.cluster.spec.job import JobSpec, Secret, VolumeClaim
from cloudmesh.cluster.spec.yaml_document import Scalar, SourceLocation, quoted

Reader = Callable[[Fields, Path, Sequence[str]], JobSpec]
"""Returns the job that a file's fields describe; takes the folder of its paths, and arguments instead of its own."""

Found = list[tuple[SourceLocation, Path]]

FIELDS = ("image", "arguments", "env", "secrets", "storage", "retries", "timeoutSeconds", "ttlSeconds")
MAX_CORES = 512
MAX_RETRIES = 20
MAX_SECONDS = 30 * 86400
MIN_TTL_SECONDS = 60
_DEFAULTS = JobSpec("default")
# "$${storage.x}" stands for the text "${storage.x}".
STORAGE_REFERENCE = re.compile(r"(\$?)\$\{storage\.([^{}]*)\}")


class Common(TypedDict):
    """What `Job` takes."""

    name: str
    image: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    retries: int
    timeout_seconds: int
    ttl_seconds: int
    storage: tuple[VolumeClaim, ...]
    secrets: tuple[Secret, ...]


def common_fields(root: Fields, arguments: Sequence[str], image: str = "") -> Common:
    """Return what the file says of a job, whatever its kind.

    Args:
        root: the file's fields.
        arguments: instead of the file's own, where there are any.
        image: the default; empty: it must be given.

    Raises:
        UsageError: a field is wrong; file, line and field are named.
    """
    spec = root.table("spec")
    env = {validators.variable(key, value): value for key, value in spec.pairs("env").items()}
    storage = tuple(_storage(fields) for fields in spec.tables("storage"))
    own = [] if arguments else spec.values("arguments")
    _check_places(spec, storage)
    _check_references([*env.values(), *own], [each.name for each in storage])
    return Common(
        name=checked_name(root.table("metadata").only("name").required("name"), "job name"),
        image=validators.image(spec.required("image") if not image else spec.value("image") or _said(image, spec)),
        arguments=tuple(arguments) or tuple(value.text for value in own),
        env={key: value.text for key, value in env.items()},
        retries=spec.integer("retries", _DEFAULTS.retries, 0, MAX_RETRIES),
        timeout_seconds=spec.integer("timeoutSeconds", _DEFAULTS.timeout_seconds, 0, MAX_SECONDS),
        ttl_seconds=spec.integer("ttlSeconds", _DEFAULTS.ttl_seconds, MIN_TTL_SECONDS, MAX_SECONDS),
        storage=storage,
        secrets=_secrets(spec, env),
    )


def checked_name(value: Scalar, what: str) -> str:
    """Return a name that may be part of others.

    Raises:
        UsageError: it may not.
    """
    try:
        return names.check(value.text, what)
    except UsageError as error:
        raise value.place.error(str(error)) from None


def cores(fields: Fields) -> int:
    """Return how many processors `cores` asks for."""
    return fields.integer("cores", 1, 1, MAX_CORES)


def memory(fields: Fields, default: int, least: int, because: str = "") -> int:
    """Return the MiB that `memory` asks for, `least` or more; `because` says in words why not less."""
    value = fields.value("memory")
    return default if value is None else validators.memory_mb(value, least, because)


def paths(fields: Fields, field: str, folder: Path, found: Found, suffixes: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Return the local files that a list names, and add them to `found`, which `files.check` is for."""
    pairs = [(value.place, local_files.find_file(value, folder, suffixes)) for value in fields.values(field)]
    found.extend(pairs)
    return tuple(path for _, path in pairs)


def _said(text: str, spec: Fields) -> Scalar:
    return Scalar(text, "str", spec.at("image"))


def _storage(fields: Fields) -> VolumeClaim:
    fields.only("name", "mount", "readOnly")
    mount = validators.mount(fields.required("mount"))
    return VolumeClaim(checked_name(fields.required("name"), "storage name"), mount, fields.boolean("readOnly", False))


def _check_places(spec: Fields, storage: Sequence[VolumeClaim]) -> None:
    """Refuse a place that is named twice, and a mount that hides another."""
    for index, (fields, its) in enumerate(zip(spec.tables("storage"), storage, strict=True)):
        for other in storage[:index]:
            if other.name == its.name:
                raise fields.at("name").error(f"storage {its.name} is named a second time")
            if f"{its.mount}/".startswith(f"{other.mount}/") or f"{other.mount}/".startswith(f"{its.mount}/"):
                raise fields.at("mount").error(f"{its.mount} and {other.mount} are within each other")


def _check_references(values: Sequence[Scalar], known: Sequence[str]) -> None:
    for value in values:
        for escaped, place in STORAGE_REFERENCE.findall(value.text):
            if not escaped and place not in known:
                raise value.place.error(f"no storage {quoted(place)} under spec.storage; {suggestion(place, known)}")


def _secrets(spec: Fields, env: Mapping[str, Scalar]) -> tuple[Secret, ...]:
    """Return the secrets; no variable may be set twice, or it would depend on the engine which one wins."""
    found = tuple(_secret(fields) for fields in spec.tables("secrets"))
    taken = dict.fromkeys(env, "spec.env")
    for secret in found:
        for variable, place in zip(secret.env, secret.places, strict=True):
            if variable in taken:
                raise place.error(f"{variable} is set by {taken[variable]} already")
            taken[variable] = place.field
    return found


def _secret(fields: Fields) -> Secret:
    fields.only("name", "env")
    secret = checked_name(fields.required("name"), "secret name")
    values = fields.values("env")
    if not values:
        raise fields.at("env").error("is missing: the environment variables that the secret's values go to")
    variables = tuple(validators.variable(value.text, value) for value in values)
    return Secret(secret, variables, tuple(value.place for value in values))
