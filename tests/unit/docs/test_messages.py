"""What messages tell users to do can be done: the commands and options that they name exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from docopt import DocoptExit, docopt

from cloudmesh.cluster.command.cluster import ClusterCommand
from cloudmesh.cluster.command.console import docopt_usage

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "cloudmesh" / "cluster"
IMAGES = ROOT / "cloudmesh" / "images"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
USAGE = docopt_usage.plain(ClusterCommand.do_cluster.__doc__ or "")
OPTIONS = set(re.findall(r"--[a-z][a-z0-9-]*", USAGE))
# Options of other programs that messages tell users to use.
FOREIGN_OPTIONS = {"--sort", "--all"}
COMMAND = re.compile(r"`cms cluster ([^`]*)`")


def _docstrings(tree: ast.AST) -> set[int]:
    """Return the identities of the nodes that are docstrings, which no user reads."""
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


@functools.cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _texts(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts in a module, each with its line; what is filled into one is written as X."""
    tree = _parse(file)
    skipped = _docstrings(tree)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
            yield (
                node.lineno,
                "".join(str(value.value) if isinstance(value, ast.Constant) else "X" for value in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@functools.cache
def _messages() -> list[tuple[str, str]]:
    """Return the texts in the package, with their places."""
    return [
        (f"{file.relative_to(ROOT)}:{line}", text)
        for file in sorted(PACKAGE.rglob("*.py"))
        for line, text in _texts(file)
    ]


def _messages_of_scripts() -> list[str]:
    """Return what host scripts and tools fail with; what is filled in is written as X."""
    texts = [
        text for script in (ROOT / "cloudmesh").rglob("*.sh") for text in re.findall(r'fail "(.*)"', script.read_text())
    ]
    return [re.sub(r"\$\(.*?\)|\$\{?\w+[^ ]*", "X", text) for text in texts]


@functools.cache
@functools.cache
def _is_a_command(words: str) -> bool:
    # What a document leaves open is one word more or none.
    argv = [word for word in words.split() if word != "…"]
    try:
        docopt(USAGE, argv=argv)
    except DocoptExit:
        return False
    return True


def test_every_command_that_a_message_names_is_one() -> None:
    named = [(where, command) for where, text in _messages() for command in COMMAND.findall(text)]
    assert len(named) > 10
    assert [entry for entry in named if not _is_a_command(entry[1])] == []


def test_commands_in_messages_stand_in_backticks() -> None:
    # "cms cluster create" alone is how an image's history and a unit's description say who made them.
    plain = re.compile(r"(?<!`)cms cluster \w+ -")
    assert [where for where, text in _messages() if plain.search(text) and not text.startswith("::")] == []


def test_every_option_that_an_error_names_is_one() -> None:
    unknown = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for statement in ast.walk(_parse(file)):
            if isinstance(statement, ast.Raise) and statement.exc:
                for node in ast.walk(statement.exc):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", node.value))
                        unknown += [(file.name, node.lineno, name) for name in options - OPTIONS - FOREIGN_OPTIONS]
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_names_is_one(document: Path) -> None:
    named = re.findall(r"`cms cluster ([a-z][^`]*)`", document.read_text())
    verbs = docopt_usage.forms(USAGE)
    assert [command for command in named if command.split()[0] not in verbs] == []
    complete = [command for command in named if len(command.split()) > 2]
    assert [command for command in complete if not _is_a_command(command)] == []


def test_every_message_of_the_troubleshooting_page_is_one_of_ours() -> None:
    in_images = [text for file in sorted(IMAGES.rglob("*.py")) for _, text in _texts(file)]
    texts = [*(text for _, text in _messages()), *_messages_of_scripts(), *in_images]
    rows = re.findall(r"^\| (`.*?`) \| ", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`(.+?)`", row)]
    assert len(messages) > 40
    unknown = []
    for message in messages:
        pattern = ".*".join(map(re.escape, message.split("…")))
        if not any(re.search(pattern, text, re.DOTALL) for text in texts):
            unknown.append(message)
    assert unknown == []
