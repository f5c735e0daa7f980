"""A connection that OpenSSH's client makes does all that one of paramiko's does. Against a real sshd."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest
from support.listener import CHUNK, listening
from support.sshd import MARKS, ONLY_OPENSSH, Sshd, home, installed, make_key, make_rsa_key
from support.waiting import wait_until

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import HostError, HostKeyError, HostTimeoutError, UnreachableError
from cloudmesh.cluster.ssh import known_hosts
from cloudmesh.cluster.ssh.connect import connect
from cloudmesh.cluster.ssh.mux import MuxTransport

__all__ = ["home"]
pytestmark = [*MARKS, pytest.mark.skipif(not installed("ssh"), reason="no OpenSSH client on this machine")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Sshd(tmp_path_factory.mktemp("sshd"), ONLY_OPENSSH) as server:
        yield server


@pytest.fixture
def breakable(tmp_path):
    with Sshd(tmp_path / "breakable", ONLY_OPENSSH) as server:
        yield server


@pytest.fixture
def connection(server):
    with connect(server.host(), server.settings()) as connection:
        assert isinstance(connection._link.transport, MuxTransport)
        yield connection


def test_a_host_is_described_as_by_a_connection_of_our_own(connection, server, tmp_path):
    assert connection.contact == f"root@127.0.0.1:{server.port}"
    assert connection.host_key == server.host_key
    connection.remember()
    assert known_hosts.hosts(server.directory / "known_hosts") == (server.host(),)


def test_scripts_get_their_files_and_answer_byte_for_byte(connection):
    content = os.urandom(5_000_000)
    script = "sha256sum <big; head -c 3000000 /dev/zero | tr '\\0' e >&2; head -c 3000000 /dev/zero | tr '\\0' o"
    result = connection.run(script, files={"big": content}, timeout=60)
    assert result.output == f"{hashlib.sha256(content).hexdigest()}  -\n" + "o" * 3_000_000


def test_a_large_stream_arrives_whole(connection):
    with connection.stream("head -c 50000000 /dev/zero") as stream:
        assert sum(len(data) for data in iter(lambda: stream.read(1 << 20), b"")) == 50_000_000


def test_a_failed_script_gives_its_last_words_and_status(connection):
    with pytest.raises(HostError, match=r"last words \(exit status 7\)"):
        connection.run("echo last words >&2; exit 7")
    with pytest.raises(HostTimeoutError, match="not done in 1 s"):
        connection.run("sleep 3", timeout=1)
    assert connection.run("exit 0", files={"big": bytes(8_000_000)}).output == ""


def test_scripts_run_side_by_side(connection):
    start = time.monotonic()
    threads = [threading.Thread(target=connection.run, args=("sleep 2",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - start < 8


def test_a_held_script_lives_until_it_is_released(connection, tmp_path):
    with connection.hold(f"echo ::fact held yes; cat >/dev/null; echo over >{tmp_path}/over") as held:
        assert held.alive
    assert (tmp_path / "over").exists()
    assert not held.alive


def test_a_server_that_ends_first_ends_the_client(connection):
    with (
        listening(lambda client: client.sendall(b"bye")) as port,
        connection.forward("127.0.0.1", port) as tunnel,
        socket.create_connection(("127.0.0.1", tunnel.port), 10) as client,
    ):
        assert b"".join(iter(lambda: client.recv(CHUNK), b"")) == b"bye"


@pytest.fixture
def temporary(monkeypatch):
    """The folder for temporary files; its path is short, as that of a socket must be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def test_nothing_stays_when_the_connection_is_closed(breakable, temporary):
    with connect(breakable.host(), breakable.settings()) as connection:
        assert list(temporary.glob("cloudmesh-ssh-*"))
        assert connection.alive
    assert not connection.alive
    assert not list(temporary.glob("cloudmesh-ssh-*"))
    assert not wait_until(breakable.sessions, 5, satisfies=lambda sessions: not sessions)


def test_a_killed_client_leaves_no_connection_behind(breakable):
    program = f"""
        import sys, time
        from pathlib import Path
        from cloudmesh.cluster.core.context import SshSettings
        from cloudmesh.cluster.core.model import Host
        from cloudmesh.cluster.ssh.connect import connect
        host = Host("127.0.0.1", "root", {breakable.port}, {str(breakable.client_key)!r})
        connection = connect(host, SshSettings(Path(sys.argv[1])))
        held = connection.hold("echo ::fact held yes; cat >/dev/null")
        print("held", flush=True)
        time.sleep(60)
    """
    store = breakable.settings().known_hosts
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), store], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        process.kill()
    assert not wait_until(breakable.sessions, 5, satisfies=lambda sessions: not sessions)


@pytest.mark.parametrize("answer", [True, False])
def test_an_unknown_host_key_is_asked_about(server, tmp_path, answer):
    questions = []
    settings = SshSettings(tmp_path / "known", confirm=lambda question: questions.append(question) or answer)
    if answer:
        with connect(server.host(), settings) as connection:
            assert connection.host_key == server.host_key
    else:
        with pytest.raises(HostKeyError, match="unknown host key"):
            connect(server.host(), settings)
    assert len(questions) == 1
    assert known_hosts.fingerprint(server.host_key) in questions[0]


def test_an_unknown_host_key_is_accepted_by_the_flag_and_written_down(server, tmp_path):
    with connect(server.host(), SshSettings(tmp_path / "known", accept_new_hostkeys=True)):
        pass
    assert known_hosts.hosts(tmp_path / "known") == (server.host(),)


def test_a_changed_host_key_is_refused_whatever_the_flags(server, tmp_path, home):
    (home / ".ssh" / "config").write_text("Host *\n StrictHostKeyChecking no\n")
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {make_key(tmp_path / 'other')}\n")
    with pytest.raises(HostKeyError, match="CHANGED"):
        connect(server.host(), SshSettings(tmp_path / "known", accept_new_hostkeys=True, confirm=lambda _: True))


def test_a_host_that_shows_another_key_than_the_trusted_one_is_refused(server, tmp_path):
    host = server.host(host_key=make_key(tmp_path / "other"))
    with pytest.raises(HostKeyError, match="CHANGED"):
        connect(host, server.settings())
    with connect(server.host(host_key=server.host_key), SshSettings(tmp_path / "none")) as connection:
        assert connection.host_key == server.host_key


@pytest.mark.parametrize(
    ("validity", "revoked", "words"),
    [
        ("20200101:20200201", "", r"unknown host key .* \(Certificate invalid: expired\)"),
        ("always:forever", "@revoked * {authority}\n", "client refuses its host key: .* revoked"),
    ],
)
def test_what_is_wrong_with_a_host_s_certificate_is_told(tmp_path, validity, revoked, words):
    authority = make_key(tmp_path / "ca")
    make_key(tmp_path / "key")
    arguments = ["-s", tmp_path / "ca", "-I", "host", "-h", "-n", "127.0.0.1", "-V", validity, tmp_path / "key.pub"]
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True)
    (tmp_path / "known").write_text(f"@cert-authority * {authority}\n{revoked.format(authority=authority)}")
    options = (f"HostKey {tmp_path}/key", f"HostCertificate {tmp_path}/key-cert.pub")
    with Sshd(tmp_path / "sshd", *options) as server, pytest.raises(HostKeyError, match=words):
        connect(server.host(), SshSettings(tmp_path / "known"))


def test_what_a_host_wants_that_openssh_does_not_allow_is_told_with_the_setting(tmp_path):
    make_rsa_key(tmp_path / "rsa")
    with (
        Sshd(tmp_path / "sshd", f"HostKey {tmp_path}/rsa", "HostKeyAlgorithms ssh-rsa") as server,
        pytest.raises(UnreachableError, match=r"write HostKeyAlgorithms \+ssh-rsa for it into ~/\.ssh/config"),
    ):
        connect(server.host(), server.settings())


def test_without_openssh_s_client_the_remedy_is_told(server, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    notes = []
    with pytest.raises(UnreachableError, match=r"install OpenSSH's client .*or let its sshd"):
        connect(server.host(), server.settings(note=notes.append))


def test_a_host_that_goes_silent_is_noticed(breakable, monkeypatch):
    monkeypatch.setattr("cloudmesh.cluster.ssh.openssh._OPTIONS", ("BatchMode=yes", "ServerAliveInterval=1"))
    with connect(breakable.host(), breakable.settings()) as connection:
        sessions = breakable.sessions()
        breakable.kill_sessions(signal.SIGSTOP)
        start = time.monotonic()
        try:
            with pytest.raises(UnreachableError):
                connection.run("true", timeout=20)
            assert time.monotonic() - start < 15
        finally:
            for pid in sessions:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
