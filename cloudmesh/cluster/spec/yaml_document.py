"""YAML text as a tree in which every value knows its line; hostile files are refused early.

PyYAML's loaders give no lines, follow any depth and take the second of two equal keys, so the tree is built here from
the events of its parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from cloudmesh.cluster.core.errors import UsageError

T = TypeVar("T")

# No leading zeros: YAML takes 010 for 8.
INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
MAX_BYTES = 1 << 20
MAX_DEPTH = 20
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HALVES = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_CORE_TAG = re.compile(r"tag:yaml\.org,2002:(str|int|float|bool|null)")


@dataclass(frozen=True)
class SourceLocation:
    """The file, the line and the field of a value.

    Attributes:
        source: the file as the user wrote it, or "--param".
        line: counted from 1; 0 where there are no lines.
        field: the path of the field, "spec.driver.cores".
    """

    source: str
    line: int = 0
    field: str = ""

    def error(self, problem: str) -> UsageError:
        """Return the error that says what is wrong here."""
        line = f":{self.line}" if self.line else ""
        field = f" {self.field}:" if self.field else ""
        message = f"{self.source}{line}:{field} {problem}"
        # File names may hold any character; a message is one line.
        return UsageError("".join(char if char.isprintable() else ascii(char)[1:-1] for char in message))

    def at(self, field: str) -> SourceLocation:
        """Return the same line, with another name of the field."""
        return replace(self, field=field)


@dataclass(frozen=True)
class Scalar:
    """A single value: the text as written, and what YAML takes it for ("str", "int", "float", "bool", "null")."""

    text: str
    kind: str
    location: SourceLocation


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[YamlNode, ...]
    location: SourceLocation


@dataclass(frozen=True)
class Table:
    """A mapping, in the order of the file."""

    entries: dict[str, YamlNode]
    location: SourceLocation


YamlNode = Scalar | Items | Table


def quoted(text: str) -> str:
    """Return user input as it may stand in a message: quoted, on one line, not too long."""
    return ascii(text if len(text) <= 60 else text[:60] + "...")


def flaw(text: str) -> str:
    """Return why `text` cannot be an argument or an environment value of a program; empty if it can."""
    if "\0" in text:
        return "must not hold a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    return ""


def local_path(text: str) -> Path:
    """Return the path that the user wrote, with "~" expanded if there is such a home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def read(source: str) -> YamlNode:
    """Return the one document of a YAML or JSON file.

    Args:
        source: the file's path, as messages show it.

    Raises:
        UsageError: the file cannot be read, is too large or nested too deep, is not YAML, or a mapping has a key twice.
    """
    return parse(content(source), source)


def _is_json(text: str, source: str) -> bool:
    """Return whether a file is JSON, whatever it is called; one called so is, with or without mistakes."""
    if Path(source).suffix == ".json":
        return True
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _as_yaml(text: str) -> str:
    """Return JSON such that YAML reads the same in it.

    JSON may be indented with tabs, which YAML refuses; a JSON string cannot contain a tab. And JSON escapes a character
    beyond the first 65,536 as two halves, of which YAML takes each for a character that there is not.
    """
    return _HALVES.sub(_join_halves, text.replace("\t", " "))


def _join_halves(match: re.Match[str]) -> str:
    high, low = int(match[2], 16), int(match[3], 16)
    return f"{match[1]}\\U{0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF):08x}"


def content(source: str) -> str:
    """Return the text of a file.

    Raises:
        UsageError: the file cannot be read, is larger than 1 MiB, or is not UTF-8 text.
    """
    path = local_path(source)
    location = SourceLocation(source)
    try:
        if not path.is_file():
            raise location.error("is no regular file" if path.exists() else "no such file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise location.error(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise location.error("is larger than 1 MiB, which no such file should be")
    return _decode(data, source)


def _decode(data: bytes, source: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceLocation(source, data.count(b"\n", 0, error.start) + 1).error("is not UTF-8 text") from None
    if bad := _UNPRINTABLE.search(text):
        raise SourceLocation(source, text.count("\n", 0, bad.start()) + 1).error(
            f"has the control character {bad[0]!a}"
        )
    return text


def parse(text: str, source: str) -> YamlNode:
    """Return the one document in `text`.

    Raises:
        UsageError: as for `read`.
    """
    return _build_tree(text, source, MAX_DEPTH, _Builder.document)


def parse_all(text: str, source: str, max_depth: int) -> tuple[YamlNode, ...]:
    """Return the documents in `text`, nested `max_depth` levels deep at most.

    Raises:
        UsageError: as for `read`.
    """
    return _build_tree(text, source, max_depth, lambda builder: tuple(builder.documents()))


def _build_tree(text: str, source: str, max_depth: int, build: Callable[[_Builder], T]) -> T:
    yaml = _yaml()
    text = _as_yaml(text) if _is_json(text, source) else text
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return build(_Builder(source, yaml.parse(text, Loader=loader), max_depth))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        raise SourceLocation(source, mark.line + 1 if mark else 0).error(f"is not YAML: {problem}") from None


def _yaml() -> Any:
    import yaml

    return yaml


class _Builder:
    def __init__(self, source: str, events: Iterator[Any], max_depth: int) -> None:
        self._source = source
        self._max_depth = max_depth
        self._events = events
        self._resolver = _yaml().resolver.Resolver()
        self._anchors: dict[str, YamlNode] = {}

    def document(self) -> YamlNode:
        next(self._events)  # the stream's start
        if (event := next(self._events)).__class__.__name__ == "StreamEndEvent":
            raise SourceLocation(self._source).error("is empty")
        node = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        if (event := next(self._events)).__class__.__name__ != "StreamEndEvent":
            raise self._place(event).error("a second document begins here: one file holds one")
        return node

    def documents(self) -> Iterator[YamlNode]:
        next(self._events)  # the stream's start
        while next(self._events).__class__.__name__ != "StreamEndEvent":
            yield self._node(next(self._events), 0)
            next(self._events)  # the document's end
            self._anchors.clear()

    def _node(self, event: Any, depth: int) -> YamlNode:
        name = event.__class__.__name__
        if name == "AliasEvent":
            return self._alias(event)
        if depth > self._max_depth:
            raise self._place(event).error(f"is nested more than {self._max_depth} levels deep")
        node: YamlNode
        if name == "ScalarEvent":
            node = self._scalar(event)
        elif name == "SequenceStartEvent":
            node = self._items(event, depth)
        else:
            node = self._table(event, depth)
        # An anchor counts only when its value is complete, so that no value can contain itself.
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> YamlNode:
        try:
            return self._anchors[event.anchor]
        except KeyError:
            raise self._place(event).error(f"*{event.anchor} refers to nothing that is complete above it") from None

    def _scalar(self, event: Any) -> Scalar:
        location = self._place(event)
        if event.tag in (None, "!"):
            # Dates and the like are text here.
            core = _CORE_TAG.fullmatch(self._resolver.resolve(_yaml().ScalarNode, event.value, event.implicit))
            return Scalar(event.value, core[1] if core else "str", location)
        core = _CORE_TAG.fullmatch(event.tag)
        if core is None:
            raise location.error(f"the tag {quoted(event.tag)} is not supported")
        return Scalar(event.value, core[1], location)

    def _items(self, event: Any, depth: int) -> Items:
        children = self._children("SequenceEndEvent")
        return Items(tuple(self._node(child, depth + 1) for child in children), self._place(event))

    def _table(self, event: Any, depth: int) -> Table:
        entries: dict[str, YamlNode] = {}
        for child in self._children("MappingEndEvent"):
            key = self._node(child, depth + 1)
            if not isinstance(key, Scalar):
                raise self._place(child).error("a field's name must be a single word")
            if key.text in entries:
                raise self._place(child).error(f"{quoted(key.text)} is given a second time")
            value = self._node(next(self._events), depth + 1)
            # An alias has the line where it is used, not where it was defined.
            entries[key.text] = replace(value, location=self._place(child))
        return Table(entries, self._place(event))

    def _children(self, end: str) -> Iterator[Any]:
        while (event := next(self._events)).__class__.__name__ != end:
            yield event

    def _place(self, event: Any) -> SourceLocation:
        return SourceLocation(self._source, event.start_mark.line + 1)
