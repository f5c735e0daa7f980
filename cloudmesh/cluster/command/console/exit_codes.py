"""Real exit codes under cmd5, and one line for every error.

cmd5 swallows exit codes and prints its remarks on stdout. `command` therefore takes the place of cmd5's decorator of
the same name. What becomes of a code depends on how `cms` was started:

- `cms cluster …`: the process ends with it;
- `cms < script`: 0 goes on with the next line, anything else ends the process with it, as `sh -e` would;
- an interactive shell stays, whatever the code.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudmesh.cluster.command.console import command_words, docopt_usage
from cloudmesh.cluster.command.console.text import printable
from cloudmesh.cluster.core.errors import ClusterError, HostsError

DEBUG_VARIABLE = "CLOUDMESH_CLUSTER_DEBUG"
INTERRUPTED = 130

CommandFunction = Callable[[Any, str, Mapping[str, Any]], None]


def command(function: CommandFunction) -> Callable[[Any, str], str]:
    """Make a cmd5 command of `function(shell, args, arguments)`, whose docstring is a docopt text.

    `function` raises to fail; what it raises decides the exit code.
    """
    name = function.__name__.removeprefix("do_")
    text = function.__doc__ or ""
    # cms imports a command before it looks at the process's arguments, and calls it once with them.
    from_process = command_words.take_from_process(name)

    def argv(args: str) -> list[str]:
        nonlocal from_process
        given, from_process = from_process, None
        return command_words.read_line(args, name) if given is None else given

    @functools.wraps(function)
    def do(shell: Any, args: str) -> str:
        code = guarded(lambda: _parse_and_call(function, shell, args, argv(args), name, text))
        if code and not _interactive():
            raise SystemExit(code)
        return ""

    do.__doc__ = docopt_usage.plain(text)
    return do


def guarded(action: Callable[[], None]) -> int:
    """Run `action`; return its exit code, having printed the error, if there is one, on stderr."""
    try:
        action()
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        _error(str(interrupt) or "interrupted; the same command again finishes what was begun")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except Exception as error:  # the last line of defence: no traceback reaches a user
        for line in lines(error):
            _error(line)
        _traceback()
        return exit_code(error)
    return 0


def exit_code(error: Exception) -> int:
    """Return the exit code that tells of `error`."""
    return error.exit_code if isinstance(error, ClusterError) else 1


def lines(error: Exception) -> list[str]:
    """Return what to tell of `error`: a line for each host that failed, else the error's own text."""
    if isinstance(error, HostsError):
        return [printable(str(failure)) for failure in error.failures.values()]
    if isinstance(error, ClusterError):
        return [printable(str(error))]
    text = (str(error).splitlines() or [""])[0]
    return [printable(f"unexpected {type(error).__name__}: {text} (a defect; {DEBUG_VARIABLE}=1 shows where)")]


def _parse_and_call(
    function: CommandFunction, shell: Any, args: str, argv: Sequence[str], name: str, text: str
) -> None:
    arguments = docopt_usage.parse(text, argv, name)
    if arguments is not None:
        function(shell, args, arguments)


def _interactive() -> bool:
    """Whether the shell goes on to ask for commands at a terminal."""
    return ("-i" in sys.argv or len(sys.argv) == 1) and sys.stdin is not None and sys.stdin.isatty()


def _error(line: str) -> None:
    sys.stderr.write(f"ERROR: {line}\n")
    sys.stderr.flush()


def _traceback() -> None:
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
        import traceback

        traceback.print_exc(file=sys.stderr)


def _forget_stdout() -> None:
    """Nobody reads stdout any more (`cms cluster list | head`): let the interpreter's last flush go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
