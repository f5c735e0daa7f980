"""Hosts whose login shells print, trap and refuse: what we run is told from that, and a refusal says what it is."""

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.private_host import FREE, USER, can_be_made, private_host
from support.sshd import MARKS, home, installed

from cloudmesh.cluster.core.errors import AuthenticationError, HostError, HostTimeoutError
from cloudmesh.cluster.ssh import parallel, root_access
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home"]
pytestmark = [
    *MARKS,
    pytest.mark.skipif(not installed("sudo"), reason="no sudo on this machine"),
    pytest.mark.skipif(not can_be_made(), reason="no mount namespaces on this machine"),
]


@pytest.fixture(scope="module")
def server():
    with private_host("open sesame") as server:
        yield server


@dataclass(frozen=True)
class Setup:
    """How the account is on a host; see `PrivateHost.set_up`. `mounts` are made in addition.

    `cause` is what a script's failure tells where it says "our cause" on stderr.
    """

    shell: str = "/bin/bash"
    files: dict[str, str] = field(default_factory=dict)
    sudoers: str = FREE
    forced: str = ""
    mounts: tuple[str, ...] = ()
    user: str = USER
    cause: str = r": our cause \(exit status 7\)$"

    def apply(self, server):
        if not Path(self.shell).exists():
            pytest.skip(f"no {self.shell} on this machine")
        server.set_up(shell=self.shell, files=self.files, sudoers=self.sudoers, forced=self.forced)
        return server.mounted(*self.mounts)


def starting(text: str, **fields: object) -> Setup:
    """A bash whose start-up file is this."""
    return Setup(files={".bashrc": text}, **fields)


def with_path(path: str, **programs: str) -> Setup:
    """A PATH, and programs in ~/bin."""
    scripts = {f"bin/{name}": f"#!/bin/sh\n{text}\n" for name, text in programs.items()}
    return Setup(files={".ssh/environment": f"PATH={path}\n", **scripts})


NOISE = 'echo Welcome; printf "no newline"; echo oops >&2'
AT_EXIT = "trap 'printf bye; echo bye >&2; exit 9' EXIT"
WORK = {
    "bash": Setup(),
    "dash": Setup("/bin/dash"),
    "zsh": Setup("/usr/bin/zsh", {".zshenv": f"{NOISE}; {AT_EXIT}"}),
    "fish": Setup("/usr/bin/fish", {".config/fish/config.fish": 'echo Welcome; printf "no newline"'}),
    "tcsh": Setup("/usr/bin/tcsh", {".tcshrc": 'echo Welcome; printf "no newline"'}),
    "mksh": Setup("/usr/bin/mksh"),
    "restricted bash": Setup("/bin/rbash"),
    "a .bashrc that prints": starting(NOISE),
    "a .bashrc that prints, of root": starting(NOISE, user="root"),
    "a .bashrc that prints a lot": starting("head -c 3000000 /dev/urandom; head -c 3000000 /dev/urandom >&2"),
    "an exit trap": starting(f"{NOISE}; {AT_EXIT}"),
    "an exit trap, of root": starting(f"{NOISE}; {AT_EXIT}", user="root"),
    "a .bashrc that waits for Enter": starting("read -r line"),
    "a .bashrc that puts stderr into stdout": starting("exec 2>&1", cause=": the script failed: exit status 7$"),
    "an ssh rc that prints": Setup(files={".ssh/rc": NOISE}),
    "an ssh rc that prints, of root": Setup(files={".ssh/rc": NOISE}, user="root"),
    "a forced command that runs what was asked": Setup(forced="echo logged; eval $SSH_ORIGINAL_COMMAND"),
    "a PATH that leads nowhere": with_path("/nowhere"),
    "a PATH that leads nowhere, of root": Setup(files={".ssh/environment": "PATH=/nowhere\n"}, user="root"),
    "settings that scripts would heed": starting(
        "export CDPATH=/:/tmp TAR_OPTIONS=--bad TMPDIR=/not/there IFS=: POSIXLY_CORRECT=1 LC_ALL=xx_YY", user="root"
    ),
    "a sudo that prints": with_path("/home/op/bin:/usr/bin:/bin", sudo='echo careful; exec /usr/bin/sudo "$@"'),
    "a sudo that is broken before one that works": with_path("/home/op/bin:/usr/bin:/bin", sudo="exit 127"),
    "sudo for a shell only": Setup(sudoers=f"{USER} ALL=(ALL) NOPASSWD: /usr/bin/sh"),
    "sudo in a terminal of its own": Setup(sudoers=f"Defaults:{USER} use_pty\n{FREE}"),
    "sudo that makes others than root": Setup(sudoers=f"Defaults:{USER} runas_default=games\n{FREE}"),
    "/tmp read-only": Setup(mounts=("-t tmpfs -o ro tmpfs /tmp",)),
    "/tmp full": Setup(mounts=("-t tmpfs -o size=4k tmpfs /tmp",)),
    "/tmp full, of root": Setup(mounts=("-t tmpfs -o size=4k tmpfs /tmp",), user="root"),
}


@pytest.mark.parametrize("setup", WORK.values(), ids=WORK.keys())
def test_a_host_that_ssh_gets_into_works_whatever_its_shell_prints(server, setup):
    content = os.urandom(300_000)
    with setup.apply(server), connect(server.host(user=setup.user), server.settings()) as connection:
        assert connection.run('id -u; echo "$1"; cat', "it's\n!").output == "0\nit's\n!"
        with connection.stream("cat content", files={"content": content}) as stream:
            assert stream.readall() == content
        with pytest.raises(HostError, match=setup.cause):
            connection.run("echo our cause >&2; exit 7")
        with connection.hold("echo ::fact held yes; cat >/dev/null") as held:
            assert held.alive


def test_a_shell_that_lingers_at_its_exit_keeps_nobody_waiting(server):
    lingering = starting("trap 'sleep 20; echo bye' EXIT")
    start = time.monotonic()
    with lingering.apply(server), connect(server.host(user=USER), server.settings()) as connection:
        assert connection.run("echo done").output == "done"
    assert time.monotonic() - start < 10


NO_ROOM = tuple(f"-t tmpfs -o ro tmpfs {folder}" for folder in ("/tmp", "/run", "/var/tmp", "/dev/shm"))
REFUSED = {
    "nologin": (Setup("/usr/sbin/nologin"), 'answered "This account is currently not available." .*--user'),
    "nologin, of root": (Setup("/usr/sbin/nologin", user="root"), "user root cannot run .*currently not available"),
    "false": (Setup("/bin/false"), r"ended without a word, as /bin/false does \(exit status 1\)"),
    "a forced command": (
        Setup(forced="echo Please login as debian; exit 142", user="root"),
        r'user root cannot run commands: .* a command that sshd forces, answered "Please login as debian" '
        r"\(exit status 142\): log in as another user by --user",
    ),
    "a .bashrc that ends": (starting("echo Closed for repair >&2; exit 3"), r'answered "Closed for repair" .*status 3'),
    "a .bashrc that redirects": (starting("exec >/dev/null 2>&1"), "printed nothing .* redirect the output"),
    "a shell that echoes": (Setup("/bin/cat"), "cannot run commands"),
    "a forced command that echoes": (Setup(forced="cat"), "a command that sshd forces, read our input"),
    "sftp only": (Setup(forced="internal-sftp"), 'answered "This service allows sftp connections only."'),
    "a .bashrc that starts another shell": (starting("exec /bin/dash"), "start-up files start another shell"),
    "a .bashrc that reads all": (starting("cat >/dev/null"), "what the login shell starts has read our input"),
}


@pytest.mark.parametrize(("setup", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_shell_that_runs_nothing_is_told_with_its_words(server, setup, words):
    host, settings = server.host(user=setup.user), server.settings(sudo_password=lambda _: pytest.fail("asked"))
    with setup.apply(server):
        failure = parallel.connect_all([host], settings).failures[str(host)]
        assert isinstance(failure, AuthenticationError)
        assert re.search(words, str(failure))


def test_a_shell_that_never_comes_to_our_command_is_told(server, monkeypatch):
    monkeypatch.setattr(root_access, "_SECONDS", 1.0)
    with (
        starting("echo Checking mail; sleep 20").apply(server),
        pytest.raises(HostTimeoutError, match='login shell of user op ran nothing in 1 s; it answered "Checking mail"'),
    ):
        connect(server.host(user=USER), server.settings())


def test_a_shell_that_begins_to_refuse_is_told_with_its_words(server):
    with Setup().apply(server), connect(server.host(user=USER), server.settings()) as connection:
        server.set_up(files={".bashrc": "echo Closed for repair; exit 3"})
        with pytest.raises(AuthenticationError, match='answered "Closed for repair"'):
            connection.run("true")
        server.set_up(sudoers="")
        with pytest.raises(AuthenticationError, match="/usr/bin/sudo: a password is required"):
            connection.run("true")


def test_no_room_for_a_script_is_told(server):
    with (
        Setup().apply(server),
        connect(server.host(user=USER), server.settings()) as connection,
        server.mounted(*NO_ROOM),
    ):
        with pytest.raises(HostError, match=r"no room for .* bytes in /tmp, /run, .*Read-only file system"):
            connection.run("true")
        with pytest.raises(HostError, match=r"no room for .* bytes"), connection.stream("true") as stream:
            stream.readall()


def test_a_slow_sudo_takes_nothing_from_a_scripts_time(server):
    slow = with_path("/home/op/bin:/usr/bin:/bin", sudo='sleep 2; exec /usr/bin/sudo "$@"')
    with slow.apply(server), connect(server.host(user=USER), server.settings()) as connection:
        start = time.monotonic()
        assert connection.run("echo done", timeout=1).output == "done"
        assert time.monotonic() - start > 2
