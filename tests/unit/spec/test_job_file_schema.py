"""That the schema, the page about job files and the examples agree with each other."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cloudmesh.cluster.command import schema as command
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_file import JOB_FILES
from cloudmesh.cluster.spec.load import load
from cloudmesh.cluster.spec.schema import job_file_schema

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(ROOT.glob("examples/*.yaml"))
SCHEMA = job_file_schema()
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """Check a value by the keywords of JSON Schema that the schema uses."""
    if "$ref" in schema:
        return accepts(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], value)
    checks = [
        is_of_type(schema.get("type", []), value),
        "anyOf" not in schema or any(accepts(part, value) for part in schema["anyOf"]),
        "oneOf" not in schema or sum(accepts(part, value) for part in schema["oneOf"]) == 1,
        not isinstance(value, str) or bool(re.search(schema.get("pattern", ""), value)),
        not isinstance(value, int) or schema.get("minimum", value) <= value <= schema.get("maximum", value),
        value in schema.get("enum", [value]) and value == schema.get("const", value),
    ]
    if isinstance(value, list):
        checks += [schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))]
        checks += [accepts(schema.get("items", {}), item) for item in value]
    return all(checks) and (not isinstance(value, dict) or accepts_mapping(schema, value))


def is_of_type(types: str | list[str], value: Any) -> bool:
    allowed = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return not allowed or "boolean" in allowed
    return not allowed or any(isinstance(value, TYPES[name]) for name in allowed)


def accepts_mapping(schema: dict[str, Any], value: dict[str, Any]) -> bool:
    if not set(schema.get("required", ())) <= set(value):
        return False
    others = schema.get("additionalProperties", {})
    for name, part in value.items():
        field = schema.get("properties", {}).get(name, others)
        if field is False or not accepts(field, part) or not accepts(schema.get("propertyNames", {}), name):
            return False
    return True


def test_the_page_about_job_files_is_what_the_generator_makes() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "generate.py"))["job_file_page"]()
    assert (ROOT / "docs" / "job-file.md").read_text(encoding="utf-8") == page, "run `make docs`"


def test_there_is_an_example_of_every_kind() -> None:
    assert {yaml.safe_load(path.read_text())["kind"] for path in EXAMPLES} == set(JOB_FILES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_job_and_the_schema_accepts_it(path: Path) -> None:
    job = load(str(path), [], {})
    assert isinstance(job, JobSpec)
    value = yaml.safe_load(path.read_text())
    assert accepts(SCHEMA, value)
    assert not accepts(SCHEMA, {**value, "specs": {}})
    assert not accepts(SCHEMA, {**value, "spec": {**value["spec"], "retries": 21}})
    assert not accepts(SCHEMA, {**value, "spec": {**value["spec"], "env": {"A-B": "c"}}})


def test_every_field_of_the_schema_has_a_meaning_and_every_single_one_an_example() -> None:
    for name, definition in SCHEMA["$defs"].items():
        for field, schema in definition.get("properties", {}).items():
            assert "$ref" in schema or schema.get("description"), f"{name}.{field}"
            assert "$ref" in schema or "const" in schema or schema.get("examples"), f"{name}.{field}"


@pytest.mark.parametrize("name", [name for name in SCHEMA["$defs"] if not name.endswith("File")])
def test_the_examples_of_the_fields_are_right(name: str) -> None:
    for field, schema in SCHEMA["$defs"][name].get("properties", {}).items():
        for example in schema.get("examples", ()):
            assert accepts(schema, example), f"{name}.{field}: {json.dumps(example)}"


def test_pydantic_is_imported_only_when_a_job_file_is_read() -> None:
    modules = "load, spark, hadoop, container, secret_values, parameters"
    code = (
        f"import sys; import cloudmesh.cluster.command.cluster; from cloudmesh.cluster.spec import {modules}; "
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_command_prints_the_schema() -> None:
    printed: list[str] = []
    command.schema(SimpleNamespace(print=printed.append))
    assert json.loads(printed[0]) == SCHEMA
