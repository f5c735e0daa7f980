"""The command line of `cms cluster`, in a real cms."""

from __future__ import annotations

import os
import pty
import re
import runpy
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cms import CMS_OF_CHECKOUT, run_in_process
from support.cms import run_checkout as cms

from cloudmesh.cluster.command import actions, submit
from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.command.cluster import ClusterCommand
from cloudmesh.cluster.command.console import docopt_usage
from cloudmesh.cluster.command.console.progress import Progress
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import known_hosts

ROOT = Path(__file__).resolve().parents[3]
TEXT = ClusterCommand.do_cluster.__doc__ or ""
HEAVY = ("paramiko", "docker", "nomad", "kubernetes", "requests", "cryptography", "yaml", "rich", "asyncio")


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def parse(*argv: str) -> dict[str, Any]:
    arguments = docopt_usage.parse(TEXT, argv, "cluster")
    assert arguments is not None
    return arguments


def parse_arguments(*argv: str) -> Arguments:
    return Arguments(parse(*argv), Progress(terminal=False))


def test_help_is_had_in_every_way_of_calling() -> None:
    form = "cluster create -n NAME"
    assert form in cms("cluster", "-h").stdout
    assert form in cms("cluster", "create", "-n", "x", "-h").stdout
    assert form in cms("help", "cluster").stdout
    commands, shown, _ = cms(stdin="help\ncluster -h\n").stdout.partition(form)
    assert shown
    assert re.search(r"\bcluster\b", commands)


def test_wrong_usage_ends_with_2_and_leaves_stdout_empty() -> None:
    done = cms("cluster", "list", "--nodes=3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ERROR: option --nodes is not one of 'list'\n")
    assert "cms cluster list [--output=FORMAT]" in done.stderr


def test_a_script_ends_at_the_first_failure_with_its_code() -> None:
    done = cms(stdin="cluster info -n ../x\ncluster -h\n")
    assert done.returncode == 2
    assert "ERROR: cluster name '../x' is not valid" in done.stderr
    assert "Usage" not in done.stdout


def test_an_interactive_shell_shows_the_error_and_stays() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(CMS_OF_CHECKOUT, stdin=theirs, stdout=theirs, stderr=theirs, cwd="/") as shell:
        os.close(theirs)
        os.write(ours, b"cluster info -n ../x\nquit\n")
        shown = _read_all(ours)
    os.close(ours)
    assert shell.returncode == 0
    assert "ERROR: cluster name '../x' is not valid" in shown
    assert "Traceback" not in shown


def _read_all(terminal: int) -> str:
    shown = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
    return shown.decode(errors="replace")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "no command given; the commands are create, add,"),
        (["frob"], "unknown command 'frob'"),
        (["info", "--colour"], "unknown option --colour"),
        (["kill"], "'kill' needs the cluster's name: -n NAME"),
        (["add", "-n", "x"], "the arguments do not fit 'add'"),
        (["list", "x"], "the arguments do not fit 'list'"),
        (["kill", "-n"], "-n requires argument"),
        (["jobs", "-n", "x", "--detach"], "option --detach is not one of 'jobs'"),
    ],
)
def test_wrong_usage_says_what_is_wrong(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        docopt_usage.parse(TEXT, argv, "cluster")
    assert str(refused.value).startswith(message)
    assert str(refused.value).endswith("Help: cms help cluster")


@pytest.mark.parametrize("argv", [["-n", "x"], ["-nx"], ["--name=x"], ["--name", "x"]])
def test_the_name_can_be_given_in_every_usual_form(argv: list[str]) -> None:
    assert parse_arguments("info", *argv).name == "x"


def test_arguments_after_a_lone_dash_dash_are_the_jobs_own() -> None:
    argv = ["submit", "-n", "x", "--param=a=1", "--param=b=2", "pi.py", "1", "--", "-h", "--nodes=3", "--", "--help"]
    arguments = parse(*argv)
    assert submit.program(arguments) == ["pi.py", "1", "-h", "--nodes=3", "--", "--help"]
    assert submit.parameters(arguments["--param"]) == {"a": "1", "b": "2"}
    assert submit.program(parse("submit", "-n", "x", "--", "pi.py", "-v")) == ["pi.py", "-v"]
    assert submit.program(parse("submit", "-n", "x", "pi.py", "--", "-v")) == ["pi.py", "-v"]


def test_a_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="write --param=KEY=VALUE"):
        submit.parameters(["slices"])


@pytest.mark.parametrize("nodes", ["0", "-1", "x", "1e3", "101", "²"])
def test_a_number_out_of_range_is_refused(nodes: str) -> None:
    with pytest.raises(UsageError, match="use a whole number from 1 to 100"):
        parse_arguments("create", "-n", "x", f"--nodes={nodes}").number("--nodes", 1, 100)


def test_words_come_apart_at_commas() -> None:
    assert parse_arguments("image", "build", "spark,hadoop", "cloudmesh").words("IMAGES") == (
        "spark",
        "hadoop",
        "cloudmesh",
    )
    assert parse_arguments("create", "-n", "x", "--images=spark, hadoop").words("--images") == ("spark", "hadoop")


def test_every_verb_of_the_help_has_an_action() -> None:
    assert set(actions.ACTIONS) == set(docopt_usage.forms(TEXT))
    assert parse("image", "list")["image"]


def test_every_option_is_explained_and_used() -> None:
    forms = "".join(docopt_usage.forms(TEXT).values())
    explained = set(re.findall(r"^  (?:-\w \w+ )?(--[a-z-]+)", TEXT, flags=re.MULTILINE))
    assert set(re.findall(r"--[a-z][a-z-]*", forms)) <= explained


def test_the_command_line_layer_imports_nothing_that_takes_time() -> None:
    program = (
        "import sys, types; shell = types.ModuleType('cloudmesh.shell.command'); shell.PluginCommand = object;"
        "sys.modules['cloudmesh.shell.command'] = shell;"
        "import cloudmesh.cluster.command.cluster, cloudmesh.cluster.command.actions;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_the_pages_of_the_commands_are_up_to_date() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "commands").glob("*.md")}
    assert written == pages, "run `make docs`"


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (("create", "-n", "x", ""), "HOSTNAMES"),
        (("create", "-n", "x", " "), "HOSTNAMES"),
        (("create", "-n", "x", "node1", ""), "HOSTNAMES"),
        (("add", "-n", "x", ""), "HOSTNAMES"),
        (("list", "--hosts="), "--hosts"),
        (("create", "-n", "x", "--user=", "node1"), "--user"),
        (("create", "-n", "x", "--key=", "node1"), "--key"),
        (("create", "-n", "x", "--nodes=", "--provider=nomad"), "--nodes"),
        (("submit", "-n", "x", ""), "JOB"),
        (("submit", "-n", "x", "--params=", "a.yaml"), "--params"),
        (("get", "-n", "x", "j", ""), "DEST"),
        (("image", "build", ""), "IMAGES"),
    ],
)
def test_an_argument_that_is_there_but_empty_is_an_error_and_nothing_is_made(
    argv: tuple[str, ...], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_in_process(*argv) == 2
    assert capsys.readouterr() == ("", f"ERROR: {name} is there but empty: give it a value, or leave it out\n")


def test_a_program_may_be_given_empty_arguments() -> None:
    parse_arguments("submit", "-n", "x", "--", "pi.py", "", "10").check_names()


def test_a_log_goes_into_a_new_file_that_is_not_called_as_a_format(tmp_path: Path) -> None:
    def find_file(*options: str) -> str:
        return actions.find_log_file(parse_arguments("logs", "-n", "x", *options, "j"))

    assert find_file() == ""
    assert find_file(f"--output={tmp_path}/new") == f"{tmp_path}/new"
    with pytest.raises(UsageError, match=r"--output=json: a log has no format; .*--output=\./json"):
        find_file("--output=json")
    (tmp_path / "new").touch()
    with pytest.raises(UsageError, match="exists already"):
        find_file(f"--output={tmp_path}/new")


def test_hosts_named_again_are_reached_by_the_user_and_key_that_served_before() -> None:
    remembered = Host("node1", "admin", 2222, "/keys/id")
    known_hosts.append(
        known_hosts.default_path(), "node1", 2222, "ssh-ed25519 AAAA", known_hosts.comment_for(remembered)
    )
    assert parse_arguments("list", "--hosts=node1").context.hosts == (remembered,)
    assert parse_arguments("add", "-n", "x", "node1,node2").hostnames == (remembered, Host("node2"))
    other = parse_arguments("list", "--hosts=node1", "--user=eve", "--key=/k", "--port=22").context.hosts
    assert other == (Host("node1", "eve", 22, "/k"),)
