"""What the values in a job file may be."""

from __future__ import annotations

import re

from cloudmesh.cluster.spec.yaml_document import Scalar, quoted

MAX_MEMORY_MB = 4 << 20
_MEMORY = re.compile(r"([0-9]{1,9})([mg])", re.IGNORECASE)
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?:[a-z0-9-]+\.)*[a-z0-9-]+(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_CLASS = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PORT = re.compile(r"[a-z][a-z0-9]{0,14}")
_PATH = re.compile(r"[\w./+=@~-]{1,255}", re.ASCII)
# Nomad gives each task the last three.
_TAKEN = ("/opt/cloudmesh", "/proc", "/sys", "/dev", "/etc", "/local", "/alloc", "/secrets")
_OUR_VARIABLES = ("CMS_", "SPARK_", "NOMAD_", "KUBERNETES_")
_PROPERTY = re.compile(r"spark\.[A-Za-z0-9._/-]+")
_FIELD_OF = {
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
_OURS = (
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
_OUR_PREFIXES = ("spark.authenticate", "spark.network.crypto.", "spark.ssl.", "spark.kubernetes.")


def memory_mb(value: Scalar, least: int, because: str = "") -> int:
    """Return a size like "512m" or "2g" in MiB.

    Args:
        value: the size.
        least: the smallest, in MiB.
        because: why not less, in words.

    Raises:
        UsageError: it is no such size, or out of bounds.
    """
    match = _MEMORY.fullmatch(value.text)
    if not match:
        raise value.place.error(f"must be a size like 512m or 2g, not {quoted(value.text)}")
    size = int(match[1]) * (1024 if match[2] in "gG" else 1)
    if size < least:
        why = f"{because}, " if because else ""
        raise value.place.error(f"{value.text} is too little: {why}give {least}m or more")
    if size > MAX_MEMORY_MB:
        raise value.place.error(f"{quoted(value.text)} is more than {MAX_MEMORY_MB >> 10}g, which no process can have")
    return size


def image(value: Scalar) -> str:
    """Return the name of an image.

    Raises:
        UsageError: no image can be called so.
    """
    if len(value.text) > 255 or not _IMAGE.fullmatch(value.text):
        raise value.place.error(f"{quoted(value.text)} is no name of an image, like spark or registry:5000/name:tag")
    return value.text


def mount(value: Scalar) -> str:
    """Return where in its tasks a job finds a place's data.

    Raises:
        UsageError: it is no absolute path, or one at which a task has something else.
    """
    if not value.text.startswith("/") or ".." in value.text.split("/"):
        raise value.place.error(f"must be an absolute path, not {quoted(value.text)}")
    path = "/" + "/".join(part for part in value.text.split("/") if part not in ("", "."))
    if not _PATH.fullmatch(path):
        raise value.place.error(
            f"{quoted(value.text)}: a mount is written with letters, digits and any of . _ + = @ ~ -"
        )
    if path == "/" or any(f"{path}/".startswith(f"{taken}/") for taken in _TAKEN):
        raise value.place.error(f"{path} is where a task has something else; choose a path like /data")
    return path


def port(value: Scalar) -> str:
    """Return the name of a port.

    Raises:
        UsageError: it is none.
    """
    if not _PORT.fullmatch(value.text):
        raise value.place.error(
            f"{quoted(value.text)} is no name of a port: use 1 to 15 lower-case letters and digits, a letter first"
        )
    return value.text


def class_name(value: Scalar) -> str:
    """Return the full name of a Java class.

    Raises:
        UsageError: it is none.
    """
    if not _CLASS.fullmatch(value.text):
        raise value.place.error(f"{quoted(value.text)} is no name of a class, like org.example.Main")
    return value.text


def variable(name: str, value: Scalar) -> str:
    """Return the name of an environment variable that a job may set.

    Raises:
        UsageError: it is no name, or one that the cluster sets.
    """
    if not _VARIABLE.fullmatch(name):
        raise value.place.error("is no name of an environment variable: use letters, digits and '_', not a digit first")
    if name.startswith(_OUR_VARIABLES):
        raise value.place.error(f"is set by the cluster; names must not start with {', '.join(_OUR_VARIABLES)}")
    return name


def spark_property(name: str, value: Scalar) -> str:
    """Return the name of a Spark property that a job may set.

    Raises:
        UsageError: Spark would ignore it, or the cluster sets it; the message names the field to use.
    """
    if not _PROPERTY.fullmatch(name):
        raise value.place.error("is no Spark property: their names start with 'spark.'")
    if name in _FIELD_OF:
        raise value.place.error(f"is set by the cluster; use {_FIELD_OF[name]}")
    if name.startswith("spark.executorEnv."):
        raise value.place.error("use spec.env, which the executors get too")
    if name in _OURS or name.startswith(_OUR_PREFIXES):
        raise value.place.error("is set by the cluster and cannot be changed; remove it")
    return name
