"""What a real cms hands to a command, of what was written: one-shot, in a script, and in its shell."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cms import CMS_OF_CHECKOUT
from support.cms import run_checkout as cms

ROOT = Path(__file__).resolve().parents[3]
# What cms takes for its own, or makes something else of: options, globs, variables of four kinds, and punctuation.
PROGRAM = [
    "--file=/etc/passwd",
    "-i",
    "--help",
    "-h",
    "--debug",
    "--echo",
    "--nosplash",
    "--",
    "*.py",
    "~",
    "./x",
    "$HOME",
    "${HOME}",
    "$$",
    "$seen",
    "var.seen",
    "os.HOME",
    "default.seen",
    "a|b",
    "a;b && c > d",
    '{"k": [1, "two"]}',
    "it's",
    "back\\slash",
    "#no-comment",
    "!x",
    "",
    "  two  blanks ",
    "ä€😀",
    "job.cm",
]


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A command `sample` that prints its words as JSON, beside this checkout's, and a place for variables of cms."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "plugin" / "cloudmesh" / "sample"
    (folder / "command").mkdir(parents=True)
    for package in (folder, folder / "command"):
        (package / "__init__.py").touch()
    program = '''\
        import json
        from cloudmesh.shell.command import PluginCommand
        from cloudmesh.cluster.command.console.exit_codes import command

        class SampleCommand(PluginCommand):
            @command
            def do_sample(self, args, arguments):
                """::

                Usage:
                  sample [--word=WORD] [--] [WORDS...]

                Options:
                  --word=WORD  shown first.
                """
                print(json.dumps([arguments["--word"], *arguments["WORDS"]]), flush=True)
    '''
    (folder / "command" / "sample.py").write_text(textwrap.dedent(program), encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(home / "plugin"), str(ROOT)]))
        monkeypatch.setenv("CLOUDMESH_CONFIG_DIR", str(home))
        yield


@pytest.fixture(scope="module", autouse=True)
def script(plugin: None) -> list[list[str]]:
    """What the command printed in a script, call by call; the script sets two variables of cms, which stay."""
    lines = [
        "set seen=REPLACED\n",
        'set "quote=it\'s"\n',
        line("--", *PROGRAM),
        line("--", "second", "-i"),
        "sample --word=$seen/var.seen -- $seen var.seen\n",
        "sample -- $quote\n",
    ]
    return shown(cms(stdin="".join(lines)).stdout)


def shown(stdout: str) -> list[list[str]]:
    """Return what the command printed, call by call."""
    return [json.loads(line[line.index("[") :]) for line in stdout.splitlines() if line.endswith("]") and "[" in line]


def line(*words: str) -> str:
    return f"sample {shlex.join(words)}\n"


def test_what_stands_after_a_lone_dash_dash_is_the_programs_in_a_one_shot_command() -> None:
    done = cms("sample", "--word=x", "--", *PROGRAM, "two\nlines\r\t")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown(done.stdout) == [["x", *PROGRAM, "two\nlines\r\t"]]


def test_what_stands_after_a_lone_dash_dash_is_the_programs_in_a_script(script: list[list[str]]) -> None:
    assert script[:2] == [[None, *PROGRAM], [None, "second", "-i"]]


def test_what_stands_after_a_lone_dash_dash_is_the_programs_in_the_shell() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(CMS_OF_CHECKOUT, stdin=theirs, stdout=theirs, stderr=theirs, cwd="/") as shell:
        os.close(theirs)
        os.write(ours, f"{line('--', *PROGRAM)}quit\n".encode())
        printed = read_all(ours)
    os.close(ours)
    assert shell.returncode == 0
    assert [None, *PROGRAM] in shown(printed)


def test_variables_of_cms_are_replaced_before_the_dash_dash_of_a_script_and_not_after_it(
    script: list[list[str]],
) -> None:
    assert script[2] == ["REPLACED/REPLACED", "$seen", "var.seen"]


def test_a_value_that_is_replaced_may_hold_a_quote_where_the_program_gets_the_name(script: list[list[str]]) -> None:
    assert script[3:] == [[None, "$quote"]]


def test_no_word_of_a_one_shot_command_is_an_option_of_cms(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("sample from the script\n")
    done = cms("sample", f"--word=--file={script}", "$seen", "x.cm")
    assert shown(done.stdout) == [[f"--file={script}", "$seen", "x.cm"]]
    assert "sample [--word=WORD]" in cms("sample", "--help").stdout
    assert "sample [--word=WORD]" in cms("sample", "--word=x", "--help").stdout


def test_a_shell_that_goes_on_after_a_command_reads_its_lines() -> None:
    done = cms("sample", "first", "-i", stdin=line("--", "second"))
    assert shown(done.stdout) == [[None, "first"], [None, "second"]]


def test_a_quote_that_is_not_closed_is_said_and_how_to_write_it() -> None:
    done = cms(stdin="sample -- it's\n")
    assert done.returncode == 2
    assert done.stderr == (
        "ERROR: cannot split the command line: No closing quotation; words are quoted as in sh, "
        "and a command is one line\n"
    )


def read_all(terminal: int) -> str:
    printed = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            printed += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
    return printed.decode(errors="replace")
