"""Writes docs/commands/*.md: a page for each command, made from the command's own help.

`make docs` writes them; a test sees to it that they are up to date.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from cloudmesh.cluster.command.cluster import ClusterCommand
from cloudmesh.cluster.command.console import docopt_usage

TARGET = Path(__file__).resolve().parent / "commands"


def pages() -> dict[str, str]:
    """Return the text of each page, by file name."""
    text = ClusterCommand.do_cluster.__doc__ or ""
    forms = docopt_usage.forms(text)
    summaries = entries(section(text, "Commands"))
    found = {f"{verb}.md": page(text, verb, form, summaries[verb]) for verb, form in forms.items()}
    lines = [f"| [{verb}]({verb}.md) | {first_sentence(summaries[verb])} |" for verb in forms]
    index = ["# Commands", "", "Made from `cms help cluster` by `make docs`.", "", "| command | |", "|---|---|", *lines]
    return found | {"README.md": "\n".join(index) + "\n"}


def page(text: str, verb: str, form: str, summary: str) -> str:
    """Return the page of one verb."""
    named = options_in("".join(docopt_usage.forms(text).values()))
    own = options_in(form)
    options = {
        head: said
        for head, said in entries(section(text, "Options")).items()
        if options_in(head) & own or ("[options]" in form and not options_in(head) & named)
    }
    arguments = {
        head: said
        for head, said in entries(section(text, "Arguments")).items()
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
    found: dict[str, str] = {}
    head = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            head, _, said = line.partition("  ")
            found[head] = said.strip()
        else:
            found[head] += " " + line.strip()
    return found


def examples(text: str, verb: str) -> str:
    """Return the examples of a verb, each with its meaning as a comment."""
    found = re.findall(r"^(cms cluster .*)\n +(.*)$", text, flags=re.MULTILINE)
    own = [f"{line}    # {meaning}" for line, meaning in found if line.split()[2] == verb]
    return "## Examples\n\n```\n" + "\n".join(own) + "\n```" if own else ""


def exit_codes(text: str) -> str:
    """Return the exit codes as a list."""
    codes = re.findall(r"(?:^| {2,})(\d+) (.*?)(?= {2,}\d|$)", text, flags=re.MULTILINE)
    return "\n".join(f"- {code}: {meaning}" for code, meaning in codes)


def table(what: str, rows: dict[str, str]) -> str:
    """Return a table of arguments or options."""
    lines = [f"| `{head}` | {said.replace('|', chr(92) + '|')} |" for head, said in rows.items()]
    return "\n".join([f"| {what} | |", "|---|---|", *lines]) if lines else ""


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop."""
    return text.split(". ", maxsplit=1)[0].rstrip(".")


def main() -> int:
    """Write the pages and remove those that no command has any more."""
    TARGET.mkdir(exist_ok=True)
    written = pages()
    for stale in {path.name for path in TARGET.glob("*.md")} - set(written):
        (TARGET / stale).unlink()
    for name, text in written.items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
