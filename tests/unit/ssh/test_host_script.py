"""Host scripts: the lines they answer in, and how they travel."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from cloudmesh.cluster.ssh.frame import ErrorFrame, Frame, make_token
from cloudmesh.cluster.ssh.host_script import LAUNCHER, SPARE_LINES, ScriptOutput, launch, launch_step, load, pack


class Notes:
    def __init__(self):
        self.calls = []

    def step(self, where, what):
        self.calls.append(("step", where, what))

    def done(self, where, what=""):
        self.calls.append(("done", where, what))

    def failed(self, where, why):
        self.calls.append(("failed", where, why))

    def note(self, text):
        self.calls.append(("note", text))


def test_marked_lines_are_sorted_from_the_rest():
    notes = Notes()
    lines = ScriptOutput("h1", notes)
    for line in [
        "::step install",
        "plain",
        "::fact os debian-13",
        "::fact busy 80",
        "::fact busy 443",
        "::note slow disk",
    ]:
        lines.feed(line)
    lines.feed("::fact empty")
    lines.feed("::fail no space")
    assert lines.output == ["plain"]
    assert lines.facts == {"os": "debian-13", "busy": "80\n443", "empty": ""}
    assert lines.failure == "no space"
    assert lines.last_step == "install"
    assert notes.calls == [("step", "h1", "install"), ("note", "h1: slow disk")]


def test_lines_that_only_look_marked_are_output():
    lines = ScriptOutput()
    for line in ["::other x", " ::fact a b", "::factx a b"]:
        lines.feed(line)
    assert len(lines.output) == 3
    assert lines.facts == {}


def test_scripts_are_put_together_in_order():
    text = load("host/facts.sh", "host/facts.sh")
    assert text == load("host/facts.sh") * 2
    assert text.endswith("\n")


def test_files_travel_private():
    with tarfile.open(fileobj=io.BytesIO(pack({"tls/key.pem": b"\0secret"}))) as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.mode) == ("tls/key.pem", 0o600)
        assert archive.extractfile(member).read() == b"\0secret"
    assert pack({}) == b""


class Launched:
    """What came of something that was launched, taken out of its frame as a connection does."""

    def __init__(self, token: str, sent: bytes, shell: str = "/bin/sh", env: dict[str, str] | None = None) -> None:
        result = subprocess.run(
            [shell, "-c", LAUNCHER], input=sent, capture_output=True, timeout=10, env=env, check=False
        )
        frame, errors = Frame(token), ErrorFrame(token, 1 << 16)
        self.stdout = frame.feed(result.stdout) + frame.finish()
        errors.feed(result.stderr)
        self.stderr = errors.content.decode()
        self.status = frame.status
        self.began = frame.began


TOKEN = make_token()


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "mksh"])
def test_a_script_finds_its_files_and_its_verb_whatever_the_hosts_sh_is(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    script, files = 'cat d/f; echo "$1"; stat -c %a . d/f; cat', {"d/f": b"content\n"}
    sent = SPARE_LINES + launch_step(TOKEN, script, "it's; $(id)\n!", files) + b"rest\n"
    result = Launched(TOKEN, sent, shell)
    assert result.stdout == b"content\nit's; $(id)\n!\n700\n600\nrest\n", result.stderr
    assert result.status == 0


def test_a_script_cut_off_on_its_way_is_not_run():
    script = "echo first\necho second\n"
    sent = launch_step(TOKEN, script, "", {})
    for missing in range(1, len(sent), 7):
        assert Launched(TOKEN, sent[:-missing]).stdout == b""


def test_files_cut_off_on_their_way_are_not_used():
    result = Launched(TOKEN, launch_step(TOKEN, "echo ran", "", {"f": b"x" * 20000})[:-15000])
    assert result.stdout == b""
    assert result.status != 0


def test_the_scripts_directory_is_gone_at_the_end_whatever_it_traps():
    result = Launched(TOKEN, launch_step(TOKEN, "trap 'echo own trap' EXIT; pwd; exit 7", "", {}))
    where, trapped = result.stdout.decode().splitlines()
    assert (trapped, result.status) == ("own trap", 7)
    assert not Path(where).exists()


def test_a_line_that_sudo_left_unread_is_passed_over():
    assert Launched(TOKEN, b"a password\n" + launch(TOKEN, "echo ran")).stdout == b"ran\n"


def test_input_that_somebody_else_has_read_is_told():
    result = Launched(TOKEN, launch(TOKEN, "echo ran\n")[5:])
    assert not result.began
    assert "has read our input" in result.stderr


def test_settings_of_the_login_do_not_reach_scripts(tmp_path):
    (tmp_path / "sub").mkdir()
    env = {"PATH": "/nowhere", "CDPATH": str(tmp_path), "TAR_OPTIONS": "--bad", "TMPDIR": "/not/there"}
    result = Launched(TOKEN, launch_step(TOKEN, "mkdir -p sub; cd sub; mktemp -u; cat ../f", "", {"f": b"it"}), env=env)
    assert result.stdout.startswith(b"/tmp/"), result.stderr
    assert result.stdout.endswith(b"\nit")


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "fish", "tcsh", "mksh"])
def test_every_login_shell_passes_the_launcher_on_unchanged(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    assert not set("\n'\\!") & set(LAUNCHER)
    sent = launch(TOKEN, 'printf "%s|" "$@"; exit 3', "a b", "it's")
    command = [shell, "-c", f"/bin/sh -c '{LAUNCHER}'"]
    result = subprocess.run(command, input=sent, capture_output=True, timeout=10, check=False)
    assert result.stdout == f"{TOKEN}+\na b|it's|{TOKEN}-3\n".encode(), result.stderr
