"""Writes docs/commands/*.md, a page for each command, and docs/job-file.md, about all fields of a job file.

The pages of commands are made from the help of `cms cluster`, docs/job-file.md from the JSON Schema of job files.
`make docs` writes them; tests check that they are up to date.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudmesh.cluster.command.cluster import ClusterCommand
from cloudmesh.cluster.command.console import docopt_usage
from cloudmesh.cluster.spec.schema import job_file_schema

DOCS = Path(__file__).resolve().parent
TARGET = DOCS / "commands"
JOB_FILE = DOCS / "job-file.md"
EXAMPLES = DOCS.parent / "examples"
# The example that the page shows for each kind.
EXAMPLE_FILES = {
    "SparkJob": "wordcount.yaml",
    "HadoopJob": "hadoop-wordcount.yaml",
    "HadoopService": "hadoop-service.yaml",
    "ContainerJob": "container.yaml",
}
INTRODUCTION = """\
# The job file

A job file is YAML or JSON; `cms cluster submit` reads it. This page is made by `make docs` from the JSON Schema of job
files, which `cms cluster schema` prints, for editors.

Paths of local files are relative to the job file's folder. A list, section or mapping with nothing after its colon is
empty. In values under `metadata` and `spec`, `${params.NAME}` is replaced by the value of a parameter, and
`$${params.NAME}` stands for that text itself. A value that is nothing but a reference gets the parameter's type:
`count: "${params.tasks}"` is a number if `tasks` is an `int`.
"""


def pages() -> dict[str, str]:
    """Return the text of each page, by file name."""
    text = ClusterCommand.do_cluster.__doc__ or ""
    forms = docopt_usage.forms(text)
    summaries = entries(section(text, "Commands"))
    written = {f"{verb}.md": page(text, verb, form, summaries[verb]) for verb, form in forms.items()}
    lines = [f"| [{verb}]({verb}.md) | {first_sentence(summaries[verb])} |" for verb in forms]
    index = ["# Commands", "", "Made from `cms help cluster` by `make docs`.", "", "| command | |", "|---|---|", *lines]
    return written | {"README.md": "\n".join(index) + "\n"}


def page(text: str, verb: str, form: str, summary: str) -> str:
    """Return the page of one verb."""
    named = options_in("".join(docopt_usage.forms(text).values()))
    in_form = options_in(form)
    options = {
        head: meaning
        for head, meaning in entries(section(text, "Options")).items()
        if options_in(head) & in_form or ("[options]" in form and not options_in(head) & named)
    }
    arguments = {
        head: meaning
        for head, meaning in entries(section(text, "Arguments")).items()
        if re.search(rf"(?<![=A-Z]){head}\b", form)
    }
    shown = re.sub(r"^cluster ", "cms cluster ", textwrap.dedent(form).rstrip(), flags=re.MULTILINE)
    shown = re.sub(r"^ +", " " * 8, shown, flags=re.MULTILINE)
    parts = [f"# cms cluster {verb}", summary, f"```\n{shown}\n```"]
    parts += [table("argument", arguments), table("option", options)]
    parts += [examples(section(text, "Examples"), verb), "## Exit codes", exit_codes(section(text, "Exit codes"))]
    return "\n\n".join(part for part in parts if part) + "\n"


def options_in(text: str) -> set[str]:
    """Return the options that a text names, short and long; what no form names is common to all with [options]."""
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))


def section(text: str, title: str) -> str:
    """Return the lines of a section, without their common indentation."""
    match = re.search(rf"^{title}:\n((?:(?:  .*)?\n)+)", text, flags=re.MULTILINE)
    return textwrap.dedent(match.group(1)).strip("\n") if match else ""


def entries(text: str) -> dict[str, str]:
    """Return the paragraphs of a section: a head, two blanks or more, and words that may go on in indented lines."""
    paragraphs: dict[str, str] = {}
    head = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            head, _, meaning = line.partition("  ")
            paragraphs[head] = meaning.strip()
        else:
            paragraphs[head] += " " + line.strip()
    return paragraphs


def examples(text: str, verb: str) -> str:
    """Return the examples of a verb, each with its meaning as a comment."""
    lines = re.findall(r"^(cms cluster .*)\n +(.*)$", text, flags=re.MULTILINE)
    shown = [f"{line}    # {meaning}" for line, meaning in lines if line.split()[2] == verb]
    return "## Examples\n\n```\n" + "\n".join(shown) + "\n```" if shown else ""


def exit_codes(text: str) -> str:
    """Return the exit codes as a list."""
    codes = re.findall(r"(?:^| {2,})(\d+) (.*?)(?= {2,}\d|$)", text, flags=re.MULTILINE)
    return "\n".join(f"- {code}: {meaning}" for code, meaning in codes)


def table(what: str, rows: dict[str, str]) -> str:
    """Return a table of arguments or options."""
    lines = [f"| `{head}` | {escape(meaning)} |" for head, meaning in rows.items()]
    return "\n".join([f"| {what} | |", "|---|---|", *lines]) if lines else ""


def escape(text: str) -> str:
    """Return a text that can stand in a cell of a table."""
    return text.replace("|", "\\|")


def job_file_page() -> str:
    """Return the text of docs/job-file.md."""
    schema = job_file_schema()
    definitions = schema["$defs"]
    files = [resolve(reference, definitions) for reference in schema["oneOf"]]
    specs = [resolve(file["properties"]["spec"], definitions)["properties"] for file in files]
    common = {name: field for name, field in specs[0].items() if all(spec.get(name) == field for spec in specs)}
    head = {name: field for name, field in files[0]["properties"].items() if name not in ("kind", "params", "spec")}
    parts = [INTRODUCTION, "## Every kind\n", field_table(head, "", files[0]["required"], definitions)]
    parts += [
        f"`kind` is one of {', '.join(f'`{kind_of(file)}`' for file in files)}; what `spec` may hold depends on it.\n"
    ]
    parts += [field_table(common, "spec", [], definitions), "## Parameters\n"]
    parts += [files[0]["properties"]["params"]["description"] + "\n"]
    parameter = definitions["ParameterDeclaration"]
    parts += [field_table(parameter["properties"], "params.NAME", parameter.get("required", []), definitions)]
    for file, spec in zip(files, specs, strict=True):
        special = {name: field for name, field in spec.items() if name not in common}
        required = resolve(file["properties"]["spec"], definitions).get("required", [])
        example = EXAMPLE_FILES[kind_of(file)]
        text = (EXAMPLES / example).read_text(encoding="utf-8")
        parts += [f"## {kind_of(file)}\n", file["description"] + "\n"]
        parts += [f"[examples/{example}](../examples/{example}):\n", f"```yaml\n{text}```\n"]
        parts += [field_table(special, "spec", required, definitions)]
    return "\n".join(parts).rstrip("\n") + "\n"


def kind_of(file: dict[str, Any]) -> str:
    """Return the kind of job that the schema of a file is for."""
    return str(file["properties"]["kind"]["const"])


def resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its reference, and the choice between a value and a reference to a parameter, resolved."""
    if "anyOf" in schema:
        schema = {**schema, **schema["anyOf"][0]}
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def field_table(fields: dict[str, Any], path: str, required: list[str], definitions: dict[str, Any]) -> str:
    """Return the table of a section's fields and of those within them."""
    lines = [
        f"| `{name}` | {kind} | {default} | {escape(meaning)} | {escape(example)} |"
        for name, kind, default, meaning, example in rows_of(fields, path, required, definitions)
    ]
    return "\n".join(["| field | type | default | meaning | example |", "|---|---|---|---|---|", *lines, ""])


def rows_of(
    fields: dict[str, Any], path: str, required: list[str], definitions: dict[str, Any]
) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield path, type, default, meaning and example of each field and of the fields within it."""
    for name, raw in fields.items():
        field = resolve(raw, definitions)
        whole = f"{path}.{name}" if path else name
        examples_ = [f"`{json.dumps(value)}`" for value in field.get("examples", ())]
        default = "required" if name in required else default_of(field)
        yield whole, type_of(field, definitions), default, field.get("description", ""), " or ".join(examples_)
        section_ = field if "properties" in field else resolve(field.get("items", {}), definitions)
        if "properties" in section_:
            inner = whole if section_ is field else f"{whole}[]"
            yield from rows_of(section_["properties"], inner, section_.get("required", []), definitions)


def default_of(field: dict[str, Any]) -> str:
    """Return what a field is that is not given; empty where its meaning says so."""
    if "properties" in field:
        return ""
    empty = {"array": "`[]`", "object": "`{}`"}.get(str(field.get("type")), "")
    return f"`{json.dumps(field['default'])}`" if field.get("default", "") != "" else empty


def type_of(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return the type of a field in words."""
    kind = "section" if "properties" in field else str(field.get("type"))
    if kind == "array":
        return f"list: {type_of(resolve(field['items'], definitions), definitions)}"
    if kind == "object":
        return f"mapping: {field.get('propertyNames', {}).get('format', 'name')} to text"
    if kind == "integer":
        return f"whole number, {field['minimum']} to {field['maximum']}"
    values = field.get("enum") or ([field["const"]] if "const" in field else [])
    words = {"section": "section", "boolean": "true or false"}
    return " or ".join(f"`{value}`" for value in values) or words.get(kind) or str(field.get("format", "text"))


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop."""
    return text.split(". ", maxsplit=1)[0].rstrip(".")


def main() -> int:
    """Write the pages, and remove pages of commands that there are no more."""
    JOB_FILE.write_text(job_file_page(), encoding="utf-8")
    TARGET.mkdir(exist_ok=True)
    written = pages()
    for stale in {path.name for path in TARGET.glob("*.md")} - set(written):
        (TARGET / stale).unlink()
    for name, text in written.items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
