"""Host scripts: loads their text, packs them for the way to the host, and reads the `::` lines that they print."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib import resources

from cloudmesh.cluster.core import archive
from cloudmesh.cluster.core.report import Report

# Runs on the host as root. On stdin are $1 bytes of script, then $2 bytes of tar archive; $3 is the verb. Both lengths
# are checked, so that an incomplete transfer is never run, and what follows on stdin is left for the script. The script
# runs in its own process, so that its traps cannot prevent the removal of the directory. There is no newline and no
# single quote in this text, because every login shell must pass it on unchanged.
_BOOTSTRAP = (
    "umask 077; export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root; "
    'd=$(mktemp -d) || exit 1; trap "rm -rf $d" EXIT; trap "exit 1" HUP INT TERM; '
    'mkdir "$d/files" && cd "$d/files" && head -c "$1" >../step || exit 1; '
    '[ "$(wc -c <../step)" -eq "$1" ] || exit 1; '
    '[ "$2" -eq 0 ] || head -c "$2" | tar -xm --no-same-owner -f - || exit 1; '
    'sh ../step "$3"'
)


def load(*names: str) -> str:
    """Return the texts of files in the package `cloudmesh.images`, joined in the order given.

    Args:
        names: paths within that package, such as "host/lib.sh" or "nomad/build.sh".
    """
    root = resources.files("cloudmesh.images")
    return "".join(root.joinpath(*name.split("/")).read_text("utf-8").rstrip("\n") + "\n" for name in names)


def bootstrap(script_size: int, archive_size: int, verb: str) -> str:
    """Return the shell command that reads a script and an archive of these sizes from stdin and runs the script.

    Args:
        script_size: bytes of the script.
        archive_size: bytes of the archive with the script's files; 0: there is none.
        verb: the script's `$1`.
    """
    return shlex.join(["sh", "-c", _BOOTSTRAP, "cms", str(script_size), str(archive_size), verb])


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of `files` (contents by name, which may have '/') with mode 0600; b"" for no files."""
    if not files:
        return b""
    return archive.pack({name: (content, 0o600) for name, content in files.items()})


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
