"""Files of the user read by pydantic models, with errors that name the file, the line and the field.

A `Document` is the tree of a YAML or JSON file. It gives the tree as plain data (dict, list, `Word`, None), lets a
model validate that data, and turns the model's first complaint into a UsageError with the line of the wrong value.
pydantic is imported only when a file is validated: that takes about a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import yaml_document
from cloudmesh.cluster.spec.yaml_document import Items, Scalar, SourceLocation, Table, YamlNode, flaw, quoted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model")
Substitute = Callable[[Scalar], Scalar]
FieldPath = tuple[str | int, ...]
"""From the root of a file to a value: ("spec", "arguments", 0)."""

# Aliases can make a small file stand for any number of values.
_MAX_VALUES = 300_000
_NO_SINGLE_VALUE = "must be a single value, not a "
_MESSAGES = {
    "missing": "is missing",
    "list_type": "must be a list: [one, two]",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
}


class Word(str):
    """A single value of a file as it is written ("1.50", "yes"), and what YAML takes it for ("float", "bool")."""

    kind: str

    def __new__(cls, text: str, kind: str) -> Word:
        """Return the text with its kind."""
        word = super().__new__(cls, text)
        word.kind = kind
        return word


class FieldError(ValueError):
    """A validator's complaint.

    Attributes:
        path: from the value that is validated to the field that is wrong.
        field: what the message calls the field instead of its whole path; None: the whole path.
    """

    def __init__(self, problem: str, *path: str | int, field: str | None = None) -> None:
        super().__init__(problem)
        self.path = path
        self.field = field


def suggestion(word: str, known: Collection[str]) -> str:
    """Return what to say after "unknown": the nearest known word, or all of them."""
    folded = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"known are: {', '.join(sorted(known))}" if known else "there are none"


@dataclass(frozen=True)
class Document:
    """A YAML or JSON file of the user."""

    root: YamlNode

    @classmethod
    def read(cls, source: str) -> Document:
        """Return the document in a file.

        Raises:
            UsageError: the file cannot be read, is too large or nested too deep, is not YAML, or has a key twice.
        """
        return cls(yaml_document.read(source))

    def find(self, *path: str | int) -> YamlNode | None:
        """Return the value at a path; None if there is none."""
        return list(self._walk(path))[-1]

    def scalar(self, *path: str | int) -> Scalar:
        """Return the single value at a path, which must be there, with its parameters not filled in."""
        node = self.find(*path)
        assert isinstance(node, Scalar)  # noqa: S101 - a model has read it
        return replace(node, location=self.locate(*path))

    def locate(self, *path: str | int) -> SourceLocation:
        """Return the file, line and field of a path; for a missing field, the line of what it is missing from."""
        node = [node for node in self._walk(path) if node is not None][-1]
        return node.location.at(_field_name(path))

    def plain(self, *path: str | int, substitute: Substitute | None = None, without: str = "") -> Any:
        """Return the value at a path as dict, list, `Word` or None, all its parameters filled in.

        Args:
            path: from the root.
            substitute: fills in the parameters of a single value; None: leave them as they are.
            without: a field of the mapping at the path that is left out.

        Raises:
            UsageError: a text holds what no program can be given, a reference cannot be filled in, or aliases
                repeat too many values.
        """
        node = self.find(*path)
        if isinstance(node, Table) and without:
            node = replace(node, entries={name: value for name, value in node.entries.items() if name != without})
        return None if node is None else _convert(node, path, substitute, iter(range(_MAX_VALUES)))

    def validate(self, model: type[Model], data: Any) -> Model:
        """Return data of this document as `model` reads it.

        Args:
            model: a pydantic model, or any type that pydantic can validate.
            data: from `plain`, in the shape of the whole document.

        Raises:
            UsageError: the model refuses the data; the message is about the first field that is wrong.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(model).validate_python(data)
        except ValidationError as error:
            details = error.errors(include_url=False)[0]
        raise self._error(details)

    def _error(self, details: ErrorDetails) -> UsageError:
        error = details.get("ctx", {}).get("error")
        # pydantic marks an error in a mapping's key by a last step "[key]".
        path = tuple(step for step in details["loc"] if step != "[key]")
        if isinstance(error, FieldError):
            location = self.locate(*path, *error.path)
            return (location if error.field is None else location.at(error.field)).error(str(error))
        return self.locate(*path).error(str(error) if error else _message(details["type"], details))

    def _walk(self, path: FieldPath) -> Iterator[YamlNode | None]:
        """Yield the values on the way along a path, None for each that is not there."""
        node: YamlNode | None = self.root
        yield node
        for step in path:
            if isinstance(node, Table) and isinstance(step, str):
                node = node.entries.get(step)
            elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
            else:
                node = None
            yield node


def _message(kind: str, details: ErrorDetails) -> str:
    """Return pydantic's own complaint in the words of this program."""
    value = details["input"]
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    if value is None:
        return 'has no value; an empty text is written ""'
    if isinstance(value, list | dict):
        return _NO_SINGLE_VALUE + ("list" if isinstance(value, list) else "mapping")
    return details["msg"]


def _convert(node: YamlNode, path: FieldPath, substitute: Substitute | None, budget: Iterator[int]) -> Any:
    if next(budget, None) is None:
        raise node.location.at(_field_name(path)).error("holds too many values, by aliases")
    if isinstance(node, Items):
        return [_convert(item, (*path, index), substitute, budget) for index, item in enumerate(node.items)]
    if isinstance(node, Table):
        return {key: _convert(value, (*path, key), substitute, budget) for key, value in node.entries.items()}
    if node.kind == "null":
        return None
    location = node.location.at(_field_name(path))
    if problem := flaw(node.text):
        raise location.error(problem)
    scalar = substitute(replace(node, location=location)) if substitute else node
    return Word(scalar.text, scalar.kind)


def _field_name(path: FieldPath) -> str:
    """Return a path as messages show it: "spec.arguments[0]"."""
    name = ""
    for step in path:
        if isinstance(step, int):
            name += f"[{step}]"
        else:
            word = step if step.isprintable() and len(step) <= 60 else quoted(step)
            name += f".{word}" if name else word
    return name
