"""Host scripts: the lines they answer in, and how they travel."""

import io
import shlex
import subprocess
import tarfile
from pathlib import Path

from cloudmesh.cluster.ssh.host_script import ScriptOutput, bootstrap, load, pack


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


def bootstrapped(script: bytes, archive: bytes, sent: bytes, verb: str = "", shell: str = "sh"):
    command = bootstrap(len(script), len(archive), verb)
    return subprocess.run([shell, "-c", command], input=sent, capture_output=True, timeout=10, check=False)


def test_a_script_finds_its_files_and_its_verb():
    script, archive = b'cat d/f; echo "$1"; stat -c %a . d/f; cat', pack({"d/f": b"content\n"})
    for shell in ("sh", "bash"):
        result = bootstrapped(script, archive, script + archive + b"rest\n", "it's; $(id)", shell)
        assert result.stdout == b"content\nit's; $(id)\n700\n600\nrest\n", result.stderr


def test_a_script_cut_off_on_its_way_is_not_run():
    script = b"echo first\necho second\n"
    result = bootstrapped(script, b"", script[:11])
    assert (result.stdout, result.returncode) == (b"", 1)


def test_files_cut_off_on_their_way_are_not_used():
    script, archive = b"echo ran", pack({"f": b"x" * 20000})
    result = bootstrapped(script, archive, script + archive[:15000])
    assert result.stdout == b""
    assert result.returncode != 0


def test_the_scripts_directory_is_gone_at_the_end_whatever_it_traps():
    script = b"trap 'echo own trap' EXIT; pwd; exit 7"
    result = bootstrapped(script, b"", script)
    where, trapped = result.stdout.decode().splitlines()
    assert (trapped, result.returncode) == ("own trap", 7)
    assert not Path(where).exists()


def test_the_command_passes_every_login_shell_unchanged():
    command = bootstrap(1, 2, "up")
    assert "\n" not in command
    assert "!" not in command
    assert shlex.split(command)[:2] == ["sh", "-c"]
