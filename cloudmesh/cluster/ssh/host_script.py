"""Host scripts: their text, how they travel, and the `::` lines in which they answer."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Mapping
from importlib import resources

from cloudmesh.cluster.core.report import Report

# Runs on the host, as root: $1 bytes of script, then $2 bytes of tar are on stdin; $3 is the verb. Both lengths are
# exact, so that nothing of a cut-off transfer is ever run, and what follows on stdin is left for the script. The script
# is a process of its own: its traps cannot keep the directory from being removed. No newline and no single quote: any
# login shell must pass it on unchanged.
_BOOTSTRAP = (
    "umask 077; export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root; "
    'd=$(mktemp -d) || exit 1; trap "rm -rf $d" EXIT; trap "exit 1" HUP INT TERM; '
    'mkdir "$d/files" && cd "$d/files" && head -c "$1" >../step || exit 1; '
    '[ "$(wc -c <../step)" -eq "$1" ] || exit 1; '
    '[ "$2" -eq 0 ] || head -c "$2" | tar -xm --no-same-owner -f - || exit 1; '
    'sh ../step "$3"'
)


def load(*names: str) -> str:
    """Return the text of files below `cloudmesh/images`, one after the other.

    Args:
        names: paths below that package: "host/lib.sh", "nomad/build.sh".
    """
    root = resources.files("cloudmesh.images")
    return "".join(root.joinpath(*name.split("/")).read_text("utf-8").rstrip("\n") + "\n" for name in names)


def bootstrap(script_size: int, archive_size: int, verb: str) -> str:
    """Return the shell command that reads a script and an archive of those sizes from stdin and runs it with `verb`."""
    return shlex.join(["sh", "-c", _BOOTSTRAP, "cms", str(script_size), str(archive_size), verb])


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return `files` (content by name, which may have '/') as a tar archive, each 0600; empty if there are none."""
    if not files:
        return b""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class ScriptOutput:
    """Sorts a script's output: `::step`, `::note`, `::fact` and `::fail` lines from the rest.

    Args:
        where: the host, as the report names it.
        report: is told steps and notes as they come.

    Attributes:
        output: every other line.
        facts: values by key; the values of a repeated key are joined by newlines.
        failure: the cause that the script gave; empty if it gave none.
        last_step: what was being done last.
    """

    def __init__(self, where: str = "", report: Report | None = None) -> None:
        self.output: list[str] = []
        self.facts: dict[str, str] = {}
        self.failure = ""
        self.last_step = ""
        self._where = where
        self._report = report

    def feed(self, line: str) -> None:
        """Take one line of output, without its newline."""
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
