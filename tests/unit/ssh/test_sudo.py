"""Becoming root by sudo and doas: real programs, a real sshd, and users that exist in its namespace only."""

import re
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext

import pytest
from support.private_host import ASKS, FREE, USER, can_be_made, private_host
from support.sshd import MARKS, home, installed

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import AuthenticationError, HostTimeoutError
from cloudmesh.cluster.ssh import parallel, root_access
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home"]

PASSWORD = "open sesame $(id) 'ö"  # noqa: S105 - of a user that lives for one test
ROOT_PASSWORD = "of root"  # noqa: S105
SHOW_PROCESSES = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true"

pytestmark = [
    *MARKS,
    pytest.mark.skipif(not installed("sudo"), reason="no sudo on this machine"),
    pytest.mark.skipif(not can_be_made(), reason="no mount namespaces on this machine"),
]


@pytest.fixture(scope="module")
def shared():
    with private_host(PASSWORD, root_password=ROOT_PASSWORD) as server:
        yield server


@pytest.fixture
def server(shared):
    """The host as it is at first: sudo asks for the password."""
    shared.set_up(sudoers=ASKS)
    return shared


def unasked(prompt: str) -> str:
    raise AssertionError(f"asked for {prompt}")


def answering(*answers: str) -> tuple[list[str], Callable[[str], str]]:
    """Return a list that receives the questions, and what gives these answers to them, the last one again and again."""
    questions: list[str] = []

    def answer(question: str) -> str:
        questions.append(question)
        return answers[min(len(questions), len(answers)) - 1]

    return questions, answer


def test_sudo_without_a_password_needs_no_question(server):
    server.set_up(sudoers=FREE)
    with connect(server.host(user=USER), server.settings(sudo_password=unasked)) as connection:
        assert connection.contact.startswith(f"{USER}@")
        assert connection.run("id -u; cat; cat f", files={"f": b"content"}).output == "0\ncontent"


def test_a_sudo_password_is_asked_for_once_and_in_no_argument_list_or_environment(server):
    questions, answer = answering(PASSWORD)
    host = server.host(user=USER)
    with connect(host, server.settings(sudo_password=answer)) as connection:
        script = f'id -u; cat; cat f; echo "$1"; {SHOW_PROCESSES}'
        output = connection.run(script, "up", files={"f": b"content\n"}).output
        assert output.startswith("0\ncontent\nup\n")
        assert "/usr/bin/sudo\0-k" in output
        assert "sesame" not in output.replace(script, "")
        with connection.hold("echo ::fact held yes; cat >/dev/null") as held:
            assert held.alive
        assert not held.alive
    assert questions == [f"sudo password of {USER}@{host}"]
    assert PASSWORD not in repr(connection._root)


def test_the_tokens_of_a_command_are_in_no_argument_list_or_environment(server):
    """Who reads them there could end the output of a script early."""
    server.set_up(sudoers=FREE)
    with connect(server.host(user=USER), server.settings()) as connection:
        output = connection.run(f"{SHOW_PROCESSES}; echo all").output
    assert output.endswith("all")
    assert "cms-*" in output  # the launcher is seen
    assert not re.search("cms-[0-9a-f]{32}", output)


def test_a_wrong_sudo_password_is_asked_for_again_three_times_at_most(server):
    questions, answer = answering("mistyped")
    host = server.host(user=USER)
    with pytest.raises(AuthenticationError, match=f"sudo refused the password of user {USER}, 3 times"):
        connect(host, server.settings(sudo_password=answer))
    again = f"{host} refused that password; sudo password of {USER}@{host}"
    assert questions == [f"sudo password of {USER}@{host}", again, again]


def test_a_password_that_is_typed_right_the_second_time_is_taken(server):
    questions, answer = answering("mistyped", PASSWORD)
    settings = server.settings(sudo_password=answer)
    with connect(server.host(user=USER), settings) as connection:
        assert connection.run("id -u").output == "0"
    assert len(questions) == 2
    assert list(settings.sudo_answers.values()) == [PASSWORD]
    assert PASSWORD not in repr(settings)


def test_no_answer_is_no_password(server):
    questions, answer = answering("")
    with pytest.raises(AuthenticationError, match=f"sudo wants a password of user {USER}, and none was given"):
        connect(server.host(user=USER), server.settings(sudo_password=answer))
    assert len(questions) == 1


def test_where_sudo_wants_roots_password_the_second_question_says_so(server):
    server.set_up(sudoers=f"Defaults:{USER} targetpw\n{ASKS}")
    questions, answer = answering(PASSWORD, ROOT_PASSWORD)
    host = server.host(user=USER)
    with connect(host, server.settings(sudo_password=answer)) as connection:
        assert connection.run("id -u").output == "0"
    assert questions[1] == f"{host} refused that password; sudo password of root@{host}"


def test_sudo_is_done_anew_each_time(server):
    """A password cached by sudo would be read as the first line of the script."""
    server.set_up(sudoers=f"{ASKS}\nDefaults:{USER} timestamp_type=global")
    with connect(server.host(user=USER), server.settings(sudo_password=lambda prompt: PASSWORD)) as connection:
        assert [connection.run("echo $1", str(number)).output for number in range(3)] == ["0", "1", "2"]


def test_a_password_that_is_wanted_no_more_is_not_taken_for_the_script(server):
    with connect(server.host(user=USER), server.settings(sudo_password=lambda prompt: PASSWORD)) as connection:
        server.set_up(sudoers=FREE)
        assert connection.run("cat; echo $1", "done").output == "done"


# What sudoers say, mounts that come in addition, and what the error says where nobody can be asked.
PLAIN_SUDO = "--bind plain-sudo /usr/bin/sudo"
NO_SUDO = "--bind /dev/null /usr/bin/sudo"
REFUSED = {
    "a password": (
        ASKS,
        (),
        rf"sudo wants a password of user {USER} \(/usr/bin/sudo: a password is required\): .*NOPASSWD.*names op",
    ),
    "a password for this, not for that": (
        f"{ASKS}\n{USER} ALL=(ALL) NOPASSWD: /usr/bin/true",
        (),
        r"sudo wants a password of user op .*, or allow NOPASSWD in sudoers$",
    ),
    "a rule that sudo cannot read": (
        f"{USER} ALL=(ALL) NOPASSWD ALL",
        (),
        r"sudo wants a password of user op \(/usr/bin/sudo: /etc/sudoers.d/rules:1:.* syntax error\): ",
    ),
    "all but shells": (f"{FREE}, !/bin/sh", (), "its sudoers allows some commands only .* not allowed to execute"),
    "some commands only": (
        f"{USER} ALL=(ALL) NOPASSWD: /usr/bin/true",
        (),
        "sudo refused user op: its sudoers allows some commands only, and not /bin/sh",
    ),
    "requiretty": (
        f"Defaults:{USER} requiretty\n{FREE}",
        (),
        r"sudo refused user op: it wants a terminal, .*\(/usr/bin/sudo: sorry, you must have a tty to run sudo\): "
        "put 'Defaults:op !requiretty' there",
    ),
    "no shell that can run anything": (
        f"Defaults:{USER} noexec\n{FREE}",
        (),
        "sudo gave user op no root shell .*Permission denied",
    ),
    "not setuid": (
        FREE,
        (PLAIN_SUDO,),
        r"it cannot make anybody root \(/usr/bin/sudo: .* the setuid bit set\): .*4755",
    ),
    "nosuid": (FREE, ("-o bind,nosuid /usr/bin/sudo /usr/bin/sudo",), r"it cannot make anybody root \(/usr/bin/sudo: "),
    "no sudo and no doas": (FREE, (NO_SUDO, "--bind /dev/null /usr/bin/doas"), "there is no sudo and no doas"),
}


@pytest.mark.parametrize(("sudoers", "mounts", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_each_reason_why_there_is_no_root_has_its_words(server, sudoers, mounts, words):
    if any("doas" in mount for mount in mounts) and not installed("doas"):
        mounts = mounts[:1]
    plain = server.directory / "plain-sudo"
    subprocess.run(["install", "-m", "755", "/usr/bin/sudo", plain], check=True)
    server.set_up(sudoers=sudoers)
    mounts = [mount.replace("plain-sudo", str(plain)) for mount in mounts]
    with server.mounted(*mounts), pytest.raises(AuthenticationError, match=words):
        connect(server.host(user=USER), server.settings())


# What sudoers say, and what the error says after the right password.
REFUSED_WITH_PASSWORD = {
    "not in sudoers": (
        "",
        r"sudo refused user op: its sudoers does not name the user \(/usr/bin/sudo: op is not in the",
    ),
    "some commands only": (
        f"{USER} ALL=(ALL) /usr/bin/true",
        r"sudo refused user op: its sudoers allows some commands only \(/usr/bin/sudo: Sorry, user op is not allowed",
    ),
    "other users only": (f"{USER} ALL=(games) ALL", "its sudoers allows some commands only"),
}


@pytest.mark.parametrize(("sudoers", "words"), REFUSED_WITH_PASSWORD.values(), ids=REFUSED_WITH_PASSWORD.keys())
def test_what_sudo_says_after_the_password_is_told(server, sudoers, words):
    server.set_up(sudoers=sudoers)
    questions, answer = answering(PASSWORD)
    with pytest.raises(AuthenticationError, match=words):
        connect(server.host(user=USER), server.settings(sudo_password=answer))
    assert len(questions) == 1


def test_a_sudo_that_never_answers_is_told(server, monkeypatch):
    monkeypatch.setattr(root_access, "_SECONDS", 1.0)
    server.set_up(files={".ssh/environment": "PATH=/home/op/bin:/usr/bin\n", "bin/sudo": "#!/bin/sh\nsleep 20\n"})
    with pytest.raises(HostTimeoutError, match="/home/op/bin/sudo gave no answer in 1 s"):
        connect(server.host(user=USER), server.settings())


def test_a_sudo_gets_a_minute():
    assert root_access._SECONDS == 60


# What doas.conf says, and the words of the error; none where it works.
DOAS = {
    "free": (f"permit nopass {USER}", ""),
    "asks": (f"permit {USER}", "doas wants a password of user op .*permit nopass op as root.*on a terminal only"),
    "others": ("permit nopass games", r"doas refused user op: .*\(/usr/bin/doas: Operation not permitted\)"),
    "no configuration": (None, r"doas refused user op: .*\(/usr/bin/doas: doas is not enabled"),
}


@pytest.mark.skipif(not installed("doas"), reason="no doas on this machine")
@pytest.mark.parametrize(("rules", "words"), DOAS.values(), ids=DOAS.keys())
def test_doas_serves_where_there_is_no_sudo(server, rules, words):
    configuration = server.directory / "etc" / "doas.conf"
    configuration.unlink(missing_ok=True)
    if rules is not None:
        configuration.write_text(f"{rules}\n")
    with server.mounted(NO_SUDO):
        settings = server.settings(sudo_password=unasked)
        expected = pytest.raises(AuthenticationError, match=words) if words else nullcontext()
        with expected, connect(server.host(user=USER), settings) as connection:
            assert connection.run("id -u; cat", "x").output == "0"


def settings_for(servers, folder, answer) -> SshSettings:
    """Return settings that know the keys of all these hosts."""
    known_hosts = folder / "known_hosts"
    known_hosts.write_text("".join(server.settings().known_hosts.read_text() for server in servers))
    return SshSettings(known_hosts=known_hosts, sudo_password=answer)


def test_one_answer_serves_all_hosts_that_take_it_and_the_others_are_asked_about(tmp_path):
    passwords = ["first", "first", "other", "first"]
    with ExitStack() as stack:
        servers = [stack.enter_context(private_host(password)) for password in passwords]
        for server in servers:
            server.set_up(sudoers=ASKS)
        hosts = [server.host(user=USER, key=str(server.client_key)) for server in servers]
        by_port = {str(server.port): password for server, password in zip(servers, passwords, strict=True)}
        asking, questions = threading.Lock(), []

        def answer(question: str) -> str:
            assert asking.acquire(blocking=False), "two questions at once"
            questions.append(question)
            asking.release()
            return by_port[question.rpartition(":")[2]]

        outcomes = parallel.connect_all(hosts, settings_for(servers, tmp_path, answer))
        for connection in outcomes.values.values():
            stack.callback(connection.close)
        assert not outcomes.failures
        assert {connection.run("id -u").output for connection in outcomes.values.values()} == {"0"}
    assert len(questions) == 2
    assert f"sudo password of {USER}@{hosts[2]}" in "".join(questions)


def test_hosts_with_a_password_each_are_asked_about_each(tmp_path):
    with ExitStack() as stack:
        servers = [stack.enter_context(private_host(password)) for password in ("one", "two", "three")]
        questions, answer = answering("one", "two", "three")
        settings = settings_for(servers, tmp_path, answer)
        for server in servers:
            server.set_up(sudoers=f"{ASKS}\nDefaults logfile=/root/log")
            stack.enter_context(connect(server.host(user=USER), settings))
        assert len(questions) == 3
        for server in servers:  # a second connection of the same command
            stack.enter_context(connect(server.host(user=USER), settings))
        refusals = [(server.directory / "root/log").read_text().count("incorrect password") for server in servers]
    assert len(questions) == 3
    assert refusals == [0, 1, 2]


def test_without_a_terminal_each_host_that_wants_a_password_is_named(tmp_path):
    with private_host("one") as one, private_host("two") as two, private_host("three") as free:
        one.set_up(sudoers=ASKS)
        two.set_up(sudoers=ASKS)
        hosts = [server.host(user=USER) for server in (one, two, free)]
        outcomes = parallel.connect_all(hosts, settings_for([one, two, free], tmp_path, None))
        for connection in outcomes.values.values():
            connection.close()
    assert set(outcomes.failures) == {str(hosts[0]), str(hosts[1])}
    assert all("sudo wants a password of user op" in str(failure) for failure in outcomes.failures.values())
