"""The fields of a job file of kind SparkJob."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cloudmesh.cluster import names
from cloudmesh.cluster.errors import UsageError
from cloudmesh.cluster.jobs import files, rules
from cloudmesh.cluster.jobs.document import Place, Scalar, shown
from cloudmesh.cluster.jobs.fields import Fields
from cloudmesh.cluster.jobs.model import Dependencies, Executor, Resources, Secret, SparkJob, Storage

MAX_INSTANCES = 1000
MAX_CORES = 512
MAX_RETRIES = 20
MAX_SECONDS = 30 * 86400
MIN_TTL_SECONDS = 60
_SPEC_FIELDS = (
    *("image", "mainApplicationFile", "mainClass", "arguments", "sparkConf", "deps", "env", "secrets", "storage"),
    *("driver", "executor", "retries", "timeoutSeconds", "ttlSeconds"),
)
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
    found: list[tuple[Place, Path]] = []
    main, main_in_image = _main(spec, folder, found)
    job = SparkJob(
        name=_name(root.table("metadata").only("name").required("name"), "job name"),
        image=_or(spec, "image", rules.image, _DEFAULTS.image),
        main=main,
        main_in_image=main_in_image,
        main_class=_main_class(spec, main, main_in_image),
        arguments=tuple(arguments) or tuple(value.text for value in spec.values("arguments")),
        spark_conf={rules.spark_property(key, value): value.text for key, value in spec.pairs("sparkConf").items()},
        env={rules.variable(key, value): value.text for key, value in spec.pairs("env").items()},
        deps=_dependencies(spec.table("deps").only("jars", "pyFiles", "files"), folder, found),
        driver=_driver(spec.table("driver").only("cores", "memory")),
        executor=_executor(spec.table("executor").only("instances", "cores", "memory")),
        retries=spec.integer("retries", _DEFAULTS.retries, 0, MAX_RETRIES),
        timeout_seconds=spec.integer("timeoutSeconds", _DEFAULTS.timeout_seconds, 0, MAX_SECONDS),
        ttl_seconds=spec.integer("ttlSeconds", _DEFAULTS.ttl_seconds, MIN_TTL_SECONDS, MAX_SECONDS),
        storage=tuple(_storage(fields) for fields in spec.tables("storage")),
        secrets=tuple(_secret(fields) for fields in spec.tables("secrets")),
    )
    files.check(found)
    _refuse_later_work(spec, job)
    return job


def _or(fields: Fields, name: str, rule: Callable[[Scalar], str], default: str) -> str:
    value = fields.value(name)
    return default if value is None else rule(value)


def _name(value: Scalar, what: str) -> str:
    try:
        return names.check(value.text, what)
    except UsageError as error:
        raise value.place.error(str(error)) from None


def _main(spec: Fields, folder: Path, found: list[tuple[Place, Path]]) -> tuple[Path | None, str]:
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


def _dependencies(deps: Fields, folder: Path, found: list[tuple[Place, Path]]) -> Dependencies:
    def paths(name: str, suffixes: tuple[str, ...] = ()) -> tuple[Path, ...]:
        pairs = [(value.place, files.find(value, folder, suffixes)) for value in deps.values(name)]
        found.extend(pairs)
        return tuple(path for _, path in pairs)

    return Dependencies(paths("jars", (".jar",)), paths("pyFiles", files.PYTHON_SUFFIXES), paths("files"))


def _driver(fields: Fields) -> Resources:
    return Resources(_cores(fields), _memory(fields, _DEFAULTS.driver.memory_mb))


def _executor(fields: Fields) -> Executor:
    instances = fields.integer("instances", _DEFAULTS.executor.instances, 1, MAX_INSTANCES)
    return Executor(_cores(fields), _memory(fields, _DEFAULTS.executor.memory_mb), instances)


def _cores(fields: Fields) -> int:
    return fields.integer("cores", 1, 1, MAX_CORES)


def _memory(fields: Fields, default: int) -> int:
    value = fields.value("memory")
    return default if value is None else rules.memory_mb(value)


def _storage(fields: Fields) -> Storage:
    fields.only("name", "mount", "readOnly")
    mount = fields.required("mount")
    if not mount.text.startswith("/") or ".." in Path(mount.text).parts:
        raise mount.place.error(f"must be an absolute path, not {shown(mount.text)}")
    return Storage(_name(fields.required("name"), "storage name"), mount.text, fields.boolean("readOnly", False))


def _secret(fields: Fields) -> Secret:
    fields.only("name", "env")
    variables = tuple(rules.variable(value.text, value) for value in fields.values("env"))
    return Secret(_name(fields.required("name"), "secret name"), variables)


def _refuse_later_work(spec: Fields, job: SparkJob) -> None:
    for name, asked in (("storage", job.storage), ("secrets", job.secrets)):
        if asked:
            raise spec.at(name).error("is not supported by this version; remove it")
