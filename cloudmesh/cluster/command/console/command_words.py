"""The words of a command as the user wrote them, before cmd5 makes something else of them.

`cms` looks for options of its own among all words (`--file=`, `--help`, `-i`, `--debug`, `--echo`), replaces `$NAME`,
`var.NAME`, `os.NAME` and `default.NAME` wherever they stand, quoted or not, and joins and splits what remains. Of
`cms COMMAND …` we take the words out of the process's arguments before `cms` looks at them: a command is imported
first. Of a line of a script or of the shell, what stands before a lone `--` is as cmd5 gives it, because its variables
are meant to be used there; what stands after it belongs to the user's program, and is read in the line itself.
"""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Iterable, Iterator
from itertools import dropwhile, takewhile

from cloudmesh.cluster.core.errors import UsageError

# What begins the words of a user's program.
PROGRAM = "--"
# The one option of cms that is of use after a command: its shell asks for more commands when this one is done.
_STAY = "-i"


def take_from_process(name: str) -> list[str] | None:
    """Take the words of `cms NAME …` out of the process's arguments, and return them; None: it is not called so.

    `cms` finds its own option `-i` where it stands before a lone `--`, and nothing else.
    """
    if sys.argv[1:2] != [name]:
        return None
    words, program = before_program(sys.argv[2:]), program_words(sys.argv[2:])
    sys.argv[2:] = [word for word in words if word == _STAY]
    return [word for word in words if word != _STAY] + program


def read_line(args: str, name: str) -> list[str]:
    """Return the words of a line of a script or of the shell, split as a POSIX shell would.

    Args:
        args: what follows the command's name, as cmd5 gives it.
        name: the command's name.

    Raises:
        UsageError: a quote is not closed.
    """
    line = _find_line()
    program = program_words(_split(line.removeprefix(name))) if line.startswith(name) else []
    # A variable may stand for the lone `--` as well; then there is no more to know than what cmd5 has made of it.
    return before_program(_split(args)) + (program or program_words(_split(args)))


def before_program(words: Iterable[str]) -> list[str]:
    """Return the words before a lone `--`."""
    return list(takewhile(lambda word: word != PROGRAM, words))


def program_words(words: Iterable[str]) -> list[str]:
    """Return the words from a lone `--` on."""
    return list(dropwhile(lambda word: word != PROGRAM, words))


def _split(text: str) -> Iterator[str]:
    """Yield the words of `text` one by one, so that what nobody asks for need not be well formed."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        yield from lexer
    except ValueError as error:
        raise UsageError(
            f"cannot split the command line: {error}; words are quoted as in sh, and a command is one line"
        ) from error


def _find_line() -> str:
    """Return the line that cmd5 was given, before it replaced variables in it; empty where it was given none.

    cmd5 hands on no more than what it has made of the line. The line itself is in a variable of its method `onecmd`.
    """
    frame = inspect.currentframe()
    while frame and frame.f_code.co_name != "onecmd":
        frame = frame.f_back
    return str(frame.f_locals.get("oldline", "")).strip() if frame else ""
