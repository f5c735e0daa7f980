"""The values of a job's secrets: from a file, the user's environment, or a question. No message shows a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import yaml_document
from cloudmesh.cluster.spec.document import Document
from cloudmesh.cluster.spec.job import JobSpec, Secret
from cloudmesh.cluster.spec.yaml_document import SourceLocation, flaw, local_path, quoted

Ask = Callable[[str], str]

# Both engines can store this much for one job.
MAX_TOTAL = 48 << 10
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_OPEN_TO_OTHERS = 0o077


def collect_values(
    jobs: Iterable[JobSpec], given: Mapping[str, str], environment: Mapping[str, str], ask: Ask | None
) -> dict[str, str]:
    """Return the value of every environment variable that the secrets of the jobs name.

    Args:
        jobs: the jobs that get the secrets.
        given: the values from `from_file`; they go before the environment.
        environment: the user's environment.
        ask: asks the user for a value without showing it; None: there is no terminal.

    Raises:
        UsageError: a variable has no value, a value has a NUL character or is not UTF-8, or all exceed MAX_TOTAL.
    """
    values: dict[str, str] = {}
    for secret in (secret for job in jobs for secret in job.secrets):
        for index, variable in enumerate(secret.env):
            if variable not in values:
                location = secret.locations[index] if secret.locations else SourceLocation(f"secret {secret.name}")
                values[variable] = _find_value(secret, variable, location, [given, environment], ask)
    if sum(len(value.encode()) for value in values.values()) > MAX_TOTAL:
        raise UsageError(f"the secrets are longer than {MAX_TOTAL >> 10} KiB in all, more than the engines keep")
    return values


def _find_value(
    secret: Secret, variable: str, location: SourceLocation, sources: Iterable[Mapping[str, str]], ask: Ask | None
) -> str:
    value = next((source[variable] for source in sources if variable in source), None)
    if value is None and ask:
        value = ask(f"{variable} of secret {secret.name}") or None
    if value is None:
        raise location.error(
            f"{variable} of secret {secret.name} has no value: set it in the environment, or in a file, --secrets=FILE"
        )
    if problem := flaw(value):
        raise location.error(f"the value of {variable} {problem}")
    return value


def from_file(path: str) -> dict[str, str]:
    """Return the values in a file: a YAML or JSON mapping, or lines KEY=VALUE; `#` begins a comment line.

    Raises:
        UsageError: the file cannot be read, or has neither of the two forms.
    """
    text = yaml_document.content(path)
    # Only what ends a line of a text file ends one here, and only blanks are not part of a value.
    lines = {number: line.strip(" \t\r") for number, line in enumerate(text.split("\n"), 1)}
    lines = {number: line for number, line in lines.items() if line and not line.startswith("#")}
    if lines and _LINE.fullmatch(next(iter(lines.values()))):
        return _from_lines(lines, path)
    try:
        document = Document.read(path)
        return document.validate(dict[str, str], document.plain())
    except UsageError as error:
        # Its message may show what is in the file.
        line = re.match(rf"{re.escape(path)}:([0-9]+):", str(error))
        location = SourceLocation(path, int(line[1]) if line else 0)
    raise location.error("is neither a mapping of names to single values, in YAML or JSON, nor lines KEY=VALUE")


def open_to_others(path: str) -> bool:
    """Return whether anybody but its owner can read the file."""
    return bool(Path(local_path(path)).stat().st_mode & _OPEN_TO_OTHERS)


def _from_lines(lines: Mapping[int, str], path: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in lines.items():
        match = _LINE.fullmatch(line)
        if not match:
            raise SourceLocation(path, number).error("is no line KEY=VALUE")
        name, value = match.groups()
        if name in values:
            raise SourceLocation(path, number).error(f"{quoted(name)} is given a second time")
        is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        values[name] = value[1:-1] if is_quoted else value
    return values
