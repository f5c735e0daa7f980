"""Jobs in an engine's own language: recognized, their names checked, and otherwise sent as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import yaml_document
from cloudmesh.cluster.spec.job import API_VERSION
from cloudmesh.cluster.spec.yaml_document import Items, Scalar, SourceLocation, Table, YamlNode, quoted

HCL_SUFFIXES = (".nomad", ".hcl")
YAML_SUFFIXES = (".yaml", ".yml")
SUFFIXES = (*HCL_SUFFIXES, ".json", *YAML_SUFFIXES)
# A custom resource's definition is nested deeply.
_MAX_DEPTH = 100
# More than a file of 1 MiB holds, unless it repeats itself by aliases.
_MAX_VALUES = 300_000
_TRUE = ("true", "yes", "on")


@dataclass(frozen=True)
class NativeJob:
    """A job that only one engine understands.

    Attributes:
        source: the file, as the user wrote it.
        engine: the provider's kind: "nomad", "kubernetes".
        objects: Kubernetes' objects in their order, or one Nomad job; none where there is `hcl`.
        hcl: a Nomad job as text, which only Nomad can read.
    """

    source: str
    engine: str
    objects: tuple[dict[str, Any], ...] = ()
    hcl: str = ""


def read_native(source: str) -> NativeJob | None:
    """Return the job in a file whose name ends with one of SUFFIXES; None where it is a job file of ours.

    Raises:
        UsageError: the file cannot be read or parsed, or holds neither a Nomad job nor Kubernetes objects.
    """
    suffix, text = Path(source).suffix, yaml_document.content(source)
    if not text.strip():
        raise SourceLocation(source).error("is empty")
    if suffix in HCL_SUFFIXES:
        return NativeJob(source, "nomad", hcl=text)
    return _from_json(text, source) if suffix == ".json" else _from_yaml(text, source)


def check_nomad(job: Mapping[str, Any], source: str) -> str:
    """Return the id of a Nomad job.

    Raises:
        UsageError: the job has no ID, the ID is not an RFC 1123 label, or the namespace is not the default one.
    """
    location, job_id = SourceLocation(source), job.get("ID")
    if not isinstance(job_id, str):
        raise location.error("this Nomad job has no ID")
    if job.get("Namespace") not in (None, "", "default"):
        raise location.error("jobs run in Nomad's namespace default: leave the job's own out")
    return _check_name(location, names.check, job_id, "job id")


def _from_json(text: str, source: str) -> NativeJob | None:
    location = SourceLocation(source)

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            raise location.error(f"{quoted(next(key for key in keys if keys.count(key) > 1))} is given a second time")
        return value

    def refuse_constant(word: str) -> None:
        raise location.error(f"is not JSON: {word}")

    try:
        value = json.loads(text, object_pairs_hook=read_object, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise SourceLocation(source, error.lineno).error(f"is not JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise location.error("is nested too deep, or holds a number that is too long") from None
    if not isinstance(value, dict):
        raise location.error("must be a mapping")
    if _is_ours(value.get("apiVersion")):
        return None
    if "apiVersion" in value:
        return NativeJob(source, "kubernetes", tuple(_find_objects(value, location)))
    job = value.get("Job", value)
    if not isinstance(job, dict) or not ("Job" in value or "TaskGroups" in value):
        raise location.error(
            "is no job: a Nomad job has Job or TaskGroups, a Kubernetes manifest has apiVersion and kind"
        )
    check_nomad(job, source)
    return NativeJob(source, "nomad", (job,))


def _from_yaml(text: str, source: str) -> NativeJob | None:
    documents = yaml_document.parse_all(text, source, _MAX_DEPTH)
    documents = tuple(node for node in documents if not (isinstance(node, Scalar) and node.kind == "null"))
    version = documents[0].entries.get("apiVersion") if documents and isinstance(documents[0], Table) else None
    if not isinstance(version, Scalar) or _is_ours(version.text):
        return None
    budget = iter(range(_MAX_VALUES))
    objects = [value for node in documents for value in _find_objects(_convert_to_json(node, budget), node.location)]
    return NativeJob(source, "kubernetes", tuple(objects))


def _is_ours(version: object) -> bool:
    return isinstance(version, str) and version.partition("/")[0] == API_VERSION.partition("/")[0]


def _find_objects(value: Any, location: SourceLocation) -> Iterator[dict[str, Any]]:
    """Yield Kubernetes' objects; those in a list (kind: PodList) one by one.

    Raises:
        UsageError: a value is not a Kubernetes object, or its name could not stand in a URL's path.
    """
    if not isinstance(value, dict):
        raise location.error("must be a mapping")
    for field in ("apiVersion", "kind"):
        if not isinstance(value.get(field), str):
            raise location.error(f"{field} is missing, which every Kubernetes object has")
    if _is_ours(value["apiVersion"]):
        raise location.error("a file holds either a job file or Kubernetes manifests")
    if value["kind"].endswith("List") and isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _find_objects(item, location)
        return
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise location.error(f"this {quoted(value['kind'])} has no metadata.name")
    for part in value["apiVersion"].split("/", 1):
        _check_name(location, names.check_object_name, part, "apiVersion")
    _check_name(location, names.check_object_name, metadata["name"], "metadata.name")
    if metadata.get("namespace") is not None:
        _check_name(location, names.check_object_name, str(metadata["namespace"]), "metadata.namespace")
    yield value


def _check_name(location: SourceLocation, check: Any, name: str, what: str) -> str:
    try:
        return str(check(name, what))
    except UsageError as error:
        raise location.error(str(error)) from None


def _convert_to_json(node: YamlNode, budget: Iterator[int]) -> Any:
    """Return a document as the values that JSON has."""
    if next(budget, None) is None:
        raise node.location.error("holds too many values, by aliases")
    if isinstance(node, Items):
        return [_convert_to_json(item, budget) for item in node.items]
    if isinstance(node, Table):
        return {key: _convert_to_json(value, budget) for key, value in node.entries.items()}
    if node.kind in ("int", "float"):
        return _parse_number(node)
    if node.kind == "bool":
        return node.text.lower() in _TRUE
    return None if node.kind == "null" else node.text


def _parse_number(scalar: Scalar) -> int | float | str:
    from yaml import ScalarNode
    from yaml.constructor import SafeConstructor

    # PyYAML reads 1:30 as the number 90, Kubernetes reads it as text.
    if ":" in scalar.text:
        return scalar.text
    constructor = SafeConstructor()
    construct = constructor.construct_yaml_int if scalar.kind == "int" else constructor.construct_yaml_float
    try:
        number: int | float = construct(ScalarNode("", scalar.text))
        json.dumps(number, allow_nan=False)
    except ValueError:
        raise scalar.location.error(f"{quoted(scalar.text)} is no number") from None
    return number
