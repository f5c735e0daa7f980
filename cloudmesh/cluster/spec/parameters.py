"""The parameters of a job file: their declarations, their values, and `${params.NAME}` in the file's values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING

from cloudmesh.cluster.spec.document import Document, suggestion
from cloudmesh.cluster.spec.job import as_text
from cloudmesh.cluster.spec.yaml_document import INTEGER, Scalar, SourceLocation, flaw, quoted

if TYPE_CHECKING:
    from cloudmesh.cluster.spec.common_model import ParameterDeclaration

MAX_TEXT = 1 << 16
MAX_TOTAL = 1 << 20
# "$${params.x}" stands for the text "${params.x}".
_REFERENCE = re.compile(r"(\$?)\$\{params\.([^{}]*)(\}?)")


@dataclass(frozen=True)
class Parameter:
    """A declared parameter.

    Attributes:
        kind: "string", "int", "float", "bool" or "choice".
        choices: what a "choice" may be.
        default: None where it has none.
        required: whether a value must be given even if nothing refers to it.
    """

    name: str
    kind: str
    choices: tuple[Scalar, ...]
    default: Scalar | None
    required: bool
    location: SourceLocation

    def accept(self, value: Scalar) -> Scalar:
        """Return a value with the type of this parameter.

        Raises:
            UsageError: the value cannot be read as that type, or is none of the choices.
        """
        if self.kind == "choice":
            return self._accept_choice(value)
        text = value.text
        if self.kind == "int" and INTEGER.fullmatch(text):
            return replace(value, text=str(int(text)), kind="int")
        if self.kind == "float" and _is_float(text):
            return replace(value, kind="float")
        if self.kind == "bool" and text.lower() in ("true", "false"):
            return replace(value, text=text.lower(), kind="bool")
        if self.kind == "string":
            return replace(value, kind="str")
        expected = {"int": "a whole number", "float": "a number", "bool": "true or false"}[self.kind]
        raise value.location.error(f"must be {expected}, not {quoted(text)}")

    def _accept_choice(self, value: Scalar) -> Scalar:
        for choice in self.choices:
            if choice.text == value.text:
                return replace(value, kind=choice.kind)
        allowed = ", ".join(choice.text for choice in self.choices)
        raise value.location.error(f"must be one of {allowed}, not {quoted(value.text)}")


def _is_float(text: str) -> bool:
    try:
        return "_" not in text and isfinite(float(text))
    except ValueError:
        return False


def build_parameters(declarations: Mapping[str, ParameterDeclaration], document: Document) -> dict[str, Parameter]:
    """Return the parameters that the `params` section of a job file declares.

    Args:
        declarations: the section.
        document: the job file.

    Raises:
        UsageError: a default cannot be read as the type of its parameter, or is none of the choices.
    """
    return {name: _build_parameter(name, declaration, document) for name, declaration in declarations.items()}


def _build_parameter(name: str, declaration: ParameterDeclaration, document: Document) -> Parameter:
    choices = tuple(document.scalar("params", name, "choices", index) for index in range(len(declaration.choices)))
    location = document.locate("params", name)
    parameter = Parameter(name, declaration.type, choices, None, declaration.required, location)
    if declaration.default is None:
        return parameter
    return replace(parameter, default=parameter.accept(document.scalar("params", name, "default")))


def from_file(path: str) -> dict[str, Scalar]:
    """Return the values in a parameter file: YAML or JSON, a mapping of names to single values.

    Raises:
        UsageError: the file cannot be read, or is not a mapping of names to single values.
    """
    document = Document.read(path)
    return {name: document.scalar(name) for name in document.validate(dict[str, str], document.plain())}


def from_options(params: Mapping[str, str]) -> dict[str, Scalar]:
    """Return the values given on the command line."""
    return {name: Scalar(text, "str", SourceLocation("--param", field=name)) for name, text in params.items()}


def settle(parameters: Mapping[str, Parameter], given: Mapping[str, Scalar], job_file: str) -> Parameters:
    """Return the value of each parameter: the given one, else its default.

    Raises:
        UsageError: a value is given for an undeclared parameter, has the wrong type, or a required value is missing.
    """
    for name, value in given.items():
        if name not in parameters:
            problem = f"{job_file} declares no such parameter; {suggestion(name, parameters)}"
            raise value.location.at(quoted(name)).error(problem)
        if problem := flaw(value.text):
            raise value.location.error(problem)
    values = {name: parameter.default for name, parameter in parameters.items()}
    values |= {name: _as_text(parameters[name].accept(value)) for name, value in given.items()}
    missing = [name for name, parameter in parameters.items() if parameter.required and values[name] is None]
    if missing:
        options = " ".join(f"--param={name}=VALUE" for name in missing)
        raise parameters[missing[0]].location.error(f"has no value; give {options}")
    return Parameters(values)


def _as_text(value: Scalar) -> Scalar:
    return replace(value, text=as_text(value.text))


@dataclass
class Parameters:
    """The parameters' values, and how much text they have been expanded to."""

    values: Mapping[str, Scalar | None]
    expanded: int = field(default=0, init=False)

    def substitute(self, value: Scalar) -> Scalar:
        """Return a value with its references filled in; one that is only a reference gets the parameter's type.

        Raises:
            UsageError: a parameter is not declared or has no value, or the text grows too long.
        """
        whole = _REFERENCE.fullmatch(value.text)
        if whole and not whole[1]:
            parameter = self._find(whole, value.location)
            result = Scalar(parameter.text, parameter.kind, value.location)
        else:
            result = replace(value, text=self._expand(value))
        self.expanded += len(result.text)
        if len(result.text) > MAX_TEXT or self.expanded > MAX_TOTAL:
            raise value.location.error("is too long: 64 KiB for one value and 1 MiB in all are the limit")
        return result

    def _expand(self, value: Scalar) -> str:
        parts = []
        end = 0
        size = 0
        for match in _REFERENCE.finditer(value.text):
            part = match[0][1:] if match[1] else self._find(match, value.location).text
            parts += [value.text[end : match.start()], part]
            end = match.end()
            size += len(part)
            if size > MAX_TEXT:
                break
        return "".join([*parts, value.text[end:]])

    def _find(self, match: re.Match[str], location: SourceLocation) -> Scalar:
        name = match[2]
        if not match[3]:
            raise location.error(f"{quoted(match[0])} has no closing brace")
        if name not in self.values:
            raise location.error(f"no parameter {quoted(name)} under params; {suggestion(name, self.values)}")
        value = self.values[name]
        if value is None:
            raise location.error(f"the parameter {name} has no value; give --param={name}=VALUE or a default")
        return value


def refuse_parameters(params: Mapping[str, str], params_file: str, job: str) -> None:
    """Refuse parameters for a job that cannot declare any.

    Raises:
        UsageError: a parameter or a file of parameters is given.
    """
    if params or params_file:
        raise SourceLocation(job).error(
            "--param and --params are for a job file of ours; a .py or .jar gets arguments after its name"
        )
