"""Host scripts: loads their text, packs them for the way to the host, and reads the `::` lines that they print."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from importlib import resources

from cloudmesh.cluster.core import archive as tar
from cloudmesh.cluster.core.report import Report

# Where programs may be, beside the user's PATH, which may lead nowhere.
PROGRAM_FOLDERS = "/run/wrappers/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

# Runs on the host in /bin/sh: reads a text and runs it, between the markers of `ssh/frame.py`. On stdin is a line with
# the frame's token and the text's length, then the text, then what the text reads. Some lines may come before: a
# password that sudo turned out not to need, and the spare ones. Every login shell must pass the launcher on unchanged:
# there is no newline, single quote, backslash or exclamation mark in it. Where a start-up file has redirected one
# stream into the other, the marker that comes first here is outside of the frame of the other stream.
LAUNCHER = (
    f'export LC_ALL=C PATH="${{PATH:+$PATH:}}{PROGRAM_FOLDERS}"; '
    "for n in 1 2 3; do read -r m n; case $m in cms-*) break ;; esac; done; "
    'case $m in cms-*) ;; *) echo "what the login shell starts has read our input" >&2; exit 1 ;; esac; '
    'echo "${m}e+" >&2; echo "$m+"; (eval "$(head -c "$n")"); n=$?; echo "$m-$n"; echo "${m}e-$n" >&2'
)
# For a start-up file that waits until somebody presses Enter.
SPARE_LINES = b"\n\n"


def load(*names: str) -> str:
    """Return the texts of files in the package `cloudmesh.images`, joined in the order given.

    Args:
        names: paths within that package, such as "host/lib.sh" or "nomad/build.sh".
    """
    root = resources.files("cloudmesh.images")
    return "".join(root.joinpath(*name.split("/")).read_text("utf-8").rstrip("\n") + "\n" for name in names)


def launch(token: str, text: str, *arguments: str) -> bytes:
    """Return what `LAUNCHER` reads from stdin in order to run `text` with these arguments as its `$1`, `$2`, …"""
    body = f"set -- {shlex.join(arguments)}; {text}".encode()
    return f"{token} {len(body)}\n".encode() + body


def launch_step(token: str, script: str, verb: str, files: Mapping[str, bytes]) -> bytes:
    """Return what `LAUNCHER` reads from stdin in order to run `script` in a directory with these files.

    Args:
        token: what the frame's markers are made of.
        script: a POSIX sh script; it is run by `host/step.sh`, as root.
        verb: the script's `$1`.
        files: contents by name, see `pack`.
    """
    body, archive = f"set -- {shlex.quote(verb)}; {script}".encode(), pack(files)
    return launch(token, load("host/step.sh"), str(len(body)), str(len(archive))) + body + archive


def lines(words: Iterable[object]) -> bytes:
    """Return the content of an input file of a script that has one word, or entry, a line."""
    return "".join(f"{word}\n" for word in words).encode()


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of `files` (contents by name, which may have '/') with mode 0600; b"" for no files."""
    if not files:
        return b""
    return tar.pack({name: (content, 0o600) for name, content in files.items()})


class ScriptOutput:
    """Separates the `::step`, `::note`, `::fact` and `::fail` lines of a script's output from its other lines.

    Args:
        where: the host, as the report names it.
        report: receives steps and notes at once.

    Attributes:
        output: the other lines.
        facts: values of `::fact` lines by key; the values of a repeated key are joined by newlines.
        failure: text of the `::fail` line; empty if there was none.
        last_step: text of the last `::step` line; empty if there was none.
    """

    def __init__(self, where: str = "", report: Report | None = None) -> None:
        self.output: list[str] = []
        self.facts: dict[str, str] = {}
        self.failure = ""
        self.last_step = ""
        self._where = where
        self._report = report

    def feed(self, line: str) -> None:
        """Process one line of output, given without its newline."""
        word, _, rest = line.partition(" ")
        handler = {"::step": self._step, "::note": self._note, "::fact": self._fact, "::fail": self._fail}.get(word)
        if handler:
            handler(rest.strip())
        else:
            self.output.append(line)

    def _step(self, text: str) -> None:
        self.last_step = text
        if self._report:
            self._report.step(self._where, text)

    def _note(self, text: str) -> None:
        if self._report:
            self._report.note(f"{self._where}: {text}" if self._where else text)

    def _fact(self, text: str) -> None:
        key, _, value = text.partition(" ")
        self.facts[key] = f"{self.facts[key]}\n{value}" if key in self.facts else value

    def _fail(self, text: str) -> None:
        self.failure = text
