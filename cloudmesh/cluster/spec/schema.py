"""The JSON Schema of job files, made from their pydantic models."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from cloudmesh.cluster.spec.job_file import JOB_FILES

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = "ParameterReference"
_REFERENCE_SCHEMA = {
    "type": "string",
    "pattern": r"\$\{params\.[^{}]*\}",
    "description": "A text with `${params.NAME}`, which is replaced by the value of that parameter.",
}
# What describes a value, and does not say which values are right.
_NOTES = ("title", "description", "default", "examples")


def job_file_schema() -> dict[str, Any]:
    """Return one JSON Schema for job files of all kinds."""
    models = list(JOB_FILES.values())
    references, schema = models_json_schema([(model, "validation") for model in models], title="Job file")
    definitions = schema["$defs"]
    for name, definition in definitions.items():
        _simplify(definition)
        # The parameters' declarations cannot have parameters; nor can the fields beside metadata and spec.
        if name != "ParameterDeclaration" and not name.endswith("File"):
            definition["properties"] = {
                field: _allow_reference(property_) for field, property_ in definition["properties"].items()
            }
    definitions[_REFERENCE] = _REFERENCE_SCHEMA
    return {
        "$schema": _DIALECT,
        "title": "Job file",
        "type": "object",
        "oneOf": [references[model, "validation"] for model in models],
        "$defs": definitions,
    }


def _simplify(schema: dict[str, Any]) -> None:
    """Drop the titles that pydantic makes of names and the null that stands for an absent field; mend mappings."""
    schema.pop("title", None)
    alternatives = schema.get("anyOf", [])
    if {"type": "null"} in alternatives:
        (value,) = [alternative for alternative in alternatives if alternative != {"type": "null"}]
        del schema["anyOf"]
        schema.update({**value, **schema})
        schema.pop("default", None)
    # pydantic's form of a mapping would allow names that do not match the pattern.
    for pattern, value in schema.pop("patternProperties", {}).items():
        schema["propertyNames"] = {**schema.get("propertyNames", {}), "pattern": pattern}
        schema["additionalProperties"] = value
    for part in schema.get("properties", {}).values():
        _simplify(part)
    for keyword in ("items", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(keyword), dict):
            _simplify(schema[keyword])


def _allow_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that may also be a reference to a parameter, as may the values within it."""
    changed = dict(schema)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            changed[keyword] = _allow_reference(schema[keyword])
    is_narrow = schema.get("type") in ("integer", "boolean") or "pattern" in schema
    if not is_narrow:
        return changed
    notes = {keyword: value for keyword, value in changed.items() if keyword in _NOTES}
    rules = {keyword: value for keyword, value in changed.items() if keyword not in _NOTES}
    return {**notes, "anyOf": [rules, {"$ref": f"#/$defs/{_REFERENCE}"}]}
