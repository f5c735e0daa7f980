"""Becoming root by sudo: real users, a real sudo, a real sshd."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from support.sshd import MARKS, Sshd, home, installed

from cloudmesh.cluster.core.errors import AuthenticationError
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home"]

PASSWORD = "open sesame $(id) 'ö"  # noqa: S105 - of a user that lives for one test

pytestmark = [
    *MARKS,
    pytest.mark.skipif(not installed("sudo") or not installed("useradd"), reason="no sudo on this machine"),
]


@pytest.fixture(scope="module")
def user():
    name = f"cms-test-{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{PASSWORD}".encode(), check=True)
        yield name
    finally:
        _remove(name)


def _remove(name: str) -> None:
    """Remove the user, once the last of its sessions has ended."""
    end = time.monotonic() + 30
    while subprocess.run(["userdel", name], check=False, capture_output=True).returncode:
        assert time.monotonic() < end, f"the user {name} cannot be removed"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def server(user):
    # sshd reads authorized keys as the user, who may not look into pytest's directories.
    directory = Path(tempfile.mkdtemp(prefix="cms-test-"))
    directory.chmod(0o755)
    with Sshd(directory) as server:
        (directory / "authorized_keys").chmod(0o644)
        yield server
    shutil.rmtree(directory)


@pytest.fixture
def sudoers(user):
    path = Path("/etc/sudoers.d") / user

    def write(rule: str) -> None:
        path.write_text(f"{user} {rule}\n")
        path.chmod(0o440)

    yield write
    path.unlink(missing_ok=True)


def unasked(prompt: str) -> str:
    raise AssertionError(f"asked for {prompt}")


def test_sudo_without_a_password_needs_no_question(server, user, sudoers):
    sudoers("ALL=(ALL) NOPASSWD: ALL")
    with connect(server.host(user=user), server.settings(sudo_password=unasked)) as connection:
        assert connection.contact.startswith(f"{user}@")
        assert connection.run("id -u; cat; cat f", files={"f": b"content"}).output == "0\ncontent"


def test_a_sudo_password_is_asked_for_once_and_in_no_argument_list(server, user, sudoers):
    sudoers("ALL=(ALL) ALL")
    asked = []
    settings = server.settings(sudo_password=lambda prompt: asked.append(prompt) or PASSWORD)
    host = server.host(user=user)
    with connect(host, settings) as connection:
        script = (
            'id -u; cat; cat f; echo "$1"; for p in /proc/[0-9]*; do tr "\\0" " " <$p/cmdline || :; done 2>/dev/null'
        )
        output = connection.run(script, "up", files={"f": b"content\n"}).output
        assert output.startswith("0\ncontent\nup\n")
        assert "sesame" not in output.replace(script, "")
        with connection.hold("echo ::fact held yes; cat >/dev/null") as held:
            assert held.alive
        assert not held.alive
    assert asked == [f"sudo password of {user}@{host}"]
    assert PASSWORD not in repr(connection._root)


def test_a_wrong_sudo_password_is_told_apart(server, user, sudoers):
    sudoers("ALL=(ALL) ALL")
    with pytest.raises(AuthenticationError, match=f"sudo refused the password of user {user}"):
        connect(server.host(user=user), server.settings(sudo_password=lambda prompt: "mistyped"))


def test_a_sudo_password_that_nobody_can_give_is_told_apart(server, user, sudoers):
    sudoers("ALL=(ALL) ALL")
    with pytest.raises(AuthenticationError, match=f"sudo wants a password of user {user}.*NOPASSWD"):
        connect(server.host(user=user), server.settings())


def test_a_user_whom_sudo_does_not_know_is_told_apart(server, user):
    with pytest.raises(AuthenticationError, match=f"sudo refused user {user}: .*not in the sudoers file"):
        connect(server.host(user=user), server.settings(sudo_password=lambda prompt: PASSWORD))


def test_sudo_is_done_anew_each_time(server, user, sudoers):
    """A password cached by sudo would be read as the first line of the script."""
    sudoers("ALL=(ALL) ALL")
    subprocess.run(["sh", "-c", f"echo 'Defaults:{user} timestamp_type=global' >>/etc/sudoers.d/{user}"], check=True)
    with connect(server.host(user=user), server.settings(sudo_password=lambda prompt: PASSWORD)) as connection:
        assert [connection.run("echo $1", str(number)).output for number in range(3)] == ["0", "1", "2"]
