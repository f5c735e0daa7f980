"""What a failure looks like, and what `cms` ends with."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from cloudmesh.cluster.command.console import exit_codes
from cloudmesh.cluster.core import errors

FAILURES = [
    (errors.ClusterError("it broke"), 1, "ERROR: it broke\n"),
    (errors.UsageError("bad name"), 2, "ERROR: bad name\n"),
    (errors.NotFoundError("no cluster x"), 3, "ERROR: no cluster x\n"),
    (KeyboardInterrupt(), 130, "ERROR: interrupted; the same command again finishes what was begun\n"),
]


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(("error", "code", "line"), FAILURES)
def test_every_kind_of_error_has_its_exit_code_and_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_codes.guarded(lambda: fail(error)) == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize(
    ("interrupt", "says"),
    [
        (KeyboardInterrupt(), "interrupted; the same command again finishes what was begun"),
        (KeyboardInterrupt("interrupted; job pi-1 goes on"), "interrupted; job pi-1 goes on"),
    ],
)
def test_an_interrupt_says_what_goes_on(
    interrupt: KeyboardInterrupt, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        raise interrupt

    assert exit_codes.guarded(action) == 130
    assert capsys.readouterr().err == f"ERROR: {says}\n"


def test_every_host_that_failed_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    failures = {"a": errors.UnreachableError("a", "port 22 is closed"), "b": errors.HostError("b", "disk full")}
    assert exit_codes.guarded(lambda: fail(errors.HostsError(failures))) == 1
    assert capsys.readouterr().err == "ERROR: a: port 22 is closed\nERROR: b: disk full\n"


def test_an_unexpected_exception_is_one_line_without_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(exit_codes.DEBUG_VARIABLE, raising=False)
    assert exit_codes.guarded(lambda: fail(AttributeError("first\nsecond"))) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("ERROR: unexpected AttributeError: first (a defect; ")
    assert printed.count("\n") == 1


def test_the_traceback_is_shown_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(exit_codes.DEBUG_VARIABLE, "1")
    exit_codes.guarded(lambda: fail(KeyError("x")))
    assert "Traceback" in capsys.readouterr().err


def test_what_a_host_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    exit_codes.guarded(lambda: fail(errors.HostError("a", "\x1b]0;title\x07\x1b[2J")))
    assert "\x1b" not in capsys.readouterr().err


class Shell:
    """A shell with a single command, which fails if `--code` says so."""

    @exit_codes.command
    def do_sample(self, args: str, arguments: Mapping[str, Any]) -> None:
        """::

        Usage:
          sample [--code=N] [WORDS...]

        Options:
          --code=N  how to fail.
        """
        if arguments["--code"]:
            raise {"2": errors.UsageError, "3": errors.NotFoundError}[arguments["--code"]]("as told")
        sys.stdout.write("|".join(arguments["WORDS"]))


class Terminal:
    """A stdin that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_one_shot_command_ends_the_process_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cms", "sample"])
    with pytest.raises(SystemExit) as ended:
        Shell().do_sample("--code=3")
    assert ended.value.code == 3


def test_a_script_goes_on_after_success_and_ends_at_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cms"])
    assert Shell().do_sample("a") == ""
    with pytest.raises(SystemExit) as ended:
        Shell().do_sample("--code=2")
    assert ended.value.code == 2


@pytest.mark.parametrize("argv", [["cms"], ["cms", "sample", "-i"]])
def test_an_interactive_shell_stays_whatever_happens(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert Shell().do_sample("--code=3") == ""
    assert Shell().do_sample("'not closed") == ""


def test_a_line_of_a_script_is_split_as_a_shell_would(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cms"])
    Shell().do_sample("""a 'b c' "d|e" f""")
    assert capsys.readouterr().out == "a|b c|d|e|f"


def test_help_succeeds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["cms", "sample", "-h"])
    assert Shell().do_sample("-h") == ""
    assert "sample [--code=N] [WORDS...]" in capsys.readouterr().out
