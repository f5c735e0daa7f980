"""Typed access to the fields of a document, so that each error names the file, the line and the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from difflib import get_close_matches

from cloudmesh.cluster.spec.yaml_document import Items, Scalar, SourceLocation, Table, YamlNode, flaw, quoted

Substitute = Callable[[Scalar], Scalar]
# No leading zeros: YAML takes 010 for 8.
INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def suggestion(word: str, known: Collection[str]) -> str:
    """Return what to say after "unknown": the nearest known word, or all of them."""
    folded = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"known are: {', '.join(sorted(known))}" if known else "there are none"


def integer(value: Scalar, low: int, high: int) -> int:
    """Return a whole number within bounds.

    Raises:
        UsageError: it is none, or out of bounds.
    """
    if value.kind == "int" and INTEGER.fullmatch(value.text) and low <= int(value.text) <= high:
        return int(value.text)
    raise value.place.error(f"must be a whole number from {low} to {high}, not {_quoted(value)}")


def boolean(value: Scalar) -> bool:
    """Return true or false.

    Raises:
        UsageError: it is neither.
    """
    if value.kind == "bool" and value.text.lower() in _TRUTH:
        return _TRUTH[value.text.lower()]
    raise value.place.error(f"must be true or false, not {_quoted(value)}")


def _quoted(value: Scalar) -> str:
    looks_right = value.kind == "str" and (INTEGER.fullmatch(value.text) or value.text.lower() in _TRUTH)
    return f"the text {quoted(value.text)}" if looks_right else quoted(value.text)


@dataclass(frozen=True)
class Fields:
    """A mapping of the document. A field that is absent, or has nothing after its colon, is its default.

    Args:
        entries: by name.
        place: of the mapping; its field is the path so far.
        substitute: fills in the parameters of a scalar.
    """

    entries: dict[str, YamlNode]
    place: SourceLocation
    substitute: Substitute = lambda value: value

    @classmethod
    def of(cls, node: YamlNode, field: str, substitute: Substitute = lambda value: value) -> Fields:
        """Return the fields of a node.

        Raises:
            UsageError: it is no mapping.
        """
        place = node.place.at(field)
        if isinstance(node, Table):
            return cls(node.entries, place, substitute)
        if isinstance(node, Scalar) and node.kind == "null":
            return cls({}, place, substitute)
        raise place.error("must be a mapping of names to values")

    def only(self, *known: str) -> Fields:
        """Return these fields, if there are no others than `known`.

        Raises:
            UsageError: there is another.
        """
        for name, node in self.entries.items():
            if name not in known:
                path = self.path(name if name.isprintable() and len(name) <= 60 else quoted(name))
                raise node.place.at(path).error(f"unknown field; {suggestion(name, known)}")
        return self

    def path(self, name: str) -> str:
        """Return the whole name of a field."""
        return f"{self.place.field}.{name}" if self.place.field else name

    def at(self, name: str) -> SourceLocation:
        """Return the place of a field, or where it is missing."""
        node = self.entries.get(name)
        return (node.place if node else self.place).at(self.path(name))

    def value(self, name: str) -> Scalar | None:
        """Return a single value with its parameters filled in; None where it is absent."""
        node = self.entries.get(name)
        return None if node is None else self._scalar(node, self.path(name))

    def text(self, name: str, default: str = "") -> str:
        """Return a field's text."""
        value = self.value(name)
        return default if value is None else value.text

    def required(self, name: str) -> Scalar:
        """Return a value that must be there and not empty.

        Raises:
            UsageError: it is missing.
        """
        value = self.value(name)
        if value is None or not value.text:
            raise self.at(name).error("is missing")
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number within bounds."""
        value = self.value(name)
        return default if value is None else integer(value, low, high)

    def boolean(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.value(name)
        return default if value is None else boolean(value)

    def table(self, name: str) -> Fields:
        """Return the fields below a field."""
        node = self.entries.get(name)
        if node is None:
            return Fields({}, self.at(name), self.substitute)
        return Fields.of(node, self.path(name), self.substitute)

    def tables(self, name: str) -> list[Fields]:
        """Return the mappings in a list."""
        nodes = self._items(name)
        return [Fields.of(node, f"{self.path(name)}[{index}]", self.substitute) for index, node in enumerate(nodes)]

    def values(self, name: str) -> list[Scalar]:
        """Return the single values in a list."""
        nodes = self._items(name)
        return [self._scalar(node, f"{self.path(name)}[{index}]") for index, node in enumerate(nodes)]

    def pairs(self, name: str) -> dict[str, Scalar]:
        """Return a mapping of freely chosen names to single values."""
        return self.table(name).scalars()

    def scalars(self) -> dict[str, Scalar]:
        """Return all fields, each of them a single value."""
        return {key: self._scalar(node, self.path(quoted(key)[1:-1])) for key, node in self.entries.items()}

    def _items(self, name: str) -> tuple[YamlNode, ...]:
        node = self.entries.get(name)
        if node is None or (isinstance(node, Scalar) and node.kind == "null"):
            return ()
        if not isinstance(node, Items):
            raise self.at(name).error("must be a list: [one, two]")
        return node.items

    def _scalar(self, node: YamlNode, field: str) -> Scalar:
        place = node.place.at(field)
        if not isinstance(node, Scalar):
            raise place.error("must be a single value, not a " + ("list" if isinstance(node, Items) else "mapping"))
        if node.kind == "null":
            raise place.error('has no value; an empty text is written ""')
        if problem := flaw(node.text):
            raise place.error(problem)
        return self.substitute(replace(node, place=place))
