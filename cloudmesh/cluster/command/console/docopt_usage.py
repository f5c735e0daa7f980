"""The command line: docopt, with errors that say what is wrong instead of only that something is."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from cloudmesh.cluster.command.console import command_words
from cloudmesh.cluster.command.console.text import printable
from cloudmesh.cluster.core.errors import UsageError


def parse(text: str, argv: Sequence[str], name: str) -> dict[str, Any] | None:
    """Match `argv` against the docopt text.

    Args:
        text: the docopt text.
        argv: the arguments after the command's name.
        name: the command's name, for messages.

    Returns:
        docopt's dictionary, or None where help was asked for and has been printed on stdout.

    Raises:
        UsageError: the arguments fit no form of the command; the message ends with the forms that were perhaps meant.
    """
    from docopt import DocoptExit, docopt

    text = plain(text)
    arguments = command_words.before_program(argv)
    wants_help = bool({"-h", "--help"} & set(arguments)) or arguments[:1] == ["help"]
    try:
        return dict(docopt(text, argv=["-h"] if wants_help else list(argv)))
    except DocoptExit as error:
        cause = str(error).splitlines()[0]
        if not cause or cause.lower().startswith("usage:"):
            cause = _diagnose(text, arguments)
        raise UsageError(f"{printable(cause)}\n{_forms(text, arguments, name)}") from None
    except SystemExit:
        return None  # docopt has printed the help


def plain(text: str) -> str:
    """Return a docstring in cmd5's style (`::`, a blank line, indented text) as plain text."""
    return textwrap.dedent(text.partition("::\n")[2] or text).strip() + "\n"


def forms(text: str) -> dict[str, str]:
    """Return the usage pattern of each verb in a docopt text, line breaks kept, patterns of one verb joined."""
    section = re.split(r"usage:", text, flags=re.IGNORECASE)[1].split("\n\n")[0].strip("\n")
    command = section.split(maxsplit=1)[0]
    patterns: dict[str, str] = {}
    for form in re.split(rf"^(?=\s*{command} )", section, flags=re.MULTILINE):
        words = form.split()
        if len(words) > 1:
            patterns[words[1]] = patterns.get(words[1], "") + form.rstrip() + "\n"
    return patterns


def _diagnose(text: str, argv: Sequence[str]) -> str:
    usage_forms = forms(text)
    verb = _verb(usage_forms, argv)
    if not verb:
        words = [word for word in argv if not word.startswith("-")]
        what = f"unknown command {words[0]!r}" if words else "no command given"
        return f"{what}; the commands are {', '.join(usage_forms)}"
    for option in (word.partition("=")[0] for word in argv if word.startswith("--")):
        if not any(known_option.startswith(option) for known_option in _options(text)):
            return f"unknown option {option}"
        if option in _others_options(verb, usage_forms):
            return f"option {option} is not one of '{verb}'"
    if " -n NAME" in usage_forms[verb] and not any(word.startswith(("-n", "--n")) for word in argv):
        return f"'{verb}' needs the cluster's name: -n NAME"
    return f"the arguments do not fit '{verb}'"


def _options(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]*", text))


def _others_options(verb: str, usage_forms: dict[str, str]) -> set[str]:
    """Options that some form names and this one does not; what no form names is common to all that take [options]."""
    return _options("".join(usage_forms.values())) - _options(usage_forms[verb]) - {"--name"}


def _forms(text: str, argv: Sequence[str], name: str) -> str:
    usage_forms = forms(text)
    verb = _verb(usage_forms, argv)
    usage = re.sub(rf"^{name} ", f"cms {name} ", textwrap.dedent(usage_forms[verb]), flags=re.MULTILINE) if verb else ""
    return (f"Usage:\n{textwrap.indent(usage, '  ')}" if usage else "") + f"Help: cms help {name}"


def _verb(usage_forms: dict[str, str], argv: Sequence[str]) -> str:
    return next((word for word in argv if word in usage_forms), "")
