"""Scripts, locks and tunnels over SSH, against a real sshd."""

import contextlib
import getpass
import hashlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from support.listener import CHUNK, all_asked, asked, listening
from support.sshd import MARKS, ONLY_OPENSSH, Sshd, free_port, home, installed, server

from cloudmesh.cluster.core.errors import HostError, HostTimeoutError, UnreachableError
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home", "server"]
pytestmark = MARKS

# Options of an sshd to which paramiko connects, and of one to which only OpenSSH's client does.
WAYS = pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="paramiko"),
        pytest.param(
            (ONLY_OPENSSH,),
            id="openssh",
            marks=pytest.mark.skipif(not installed("ssh"), reason="no OpenSSH client on this machine"),
        ),
    ],
)


@pytest.fixture
def connection(server):
    with connect(server.host(), server.settings()) as connection:
        yield connection


@pytest.fixture
def breakable(tmp_path):
    """An sshd that a test may break."""
    with Sshd(tmp_path / "breakable") as server:
        yield server


class Steps:
    def __init__(self):
        self.calls = []

    def step(self, where, what):
        self.calls.append((where, what))

    def done(self, where, what=""):
        pass

    def failed(self, where, why):
        pass

    def note(self, text):
        self.calls.append(text)


def test_a_script_runs_as_root_with_its_verb_and_files(connection, server):
    steps = Steps()
    script = 'echo "::step look"; echo "::note $1"; echo "::fact uid $(id -u)"; cat conf/a; cat'
    result = connection.run(script, "up & go", files={"conf/a": b"content\n"}, report=steps)
    assert result.output == "content"
    assert result.facts == {"uid": "0"}
    assert steps.calls == [(str(server.host()), "look"), f"{server.host()}: up & go"]
    assert connection.contact == f"{getpass.getuser()}@127.0.0.1:{server.port}"
    assert connection.host == server.host()


def test_binary_files_arrive_byte_for_byte(connection):
    content = os.urandom(5_000_000)
    result = connection.run("sha256sum <big; wc -c <empty", files={"big": content, "empty": b""})
    assert result.output == f"{hashlib.sha256(content).hexdigest()}  -\n0"


def test_large_files_and_large_output_on_both_streams_do_not_block_each_other(connection):
    script = "head -c 6000000 /dev/zero | tr '\\0' e >&2; head -c 6000000 /dev/zero | tr '\\0' o; wc -c <big"
    result = connection.run(script, files={"big": b"b" * 6_000_000}, timeout=30)
    assert len(result.output) == 6_000_000 + len("6000000")


def test_a_script_that_reads_nothing_of_its_files_ends_well(connection):
    assert connection.run("exit 0", files={"big": bytes(8_000_000)}).output == ""


def test_output_that_is_no_utf8_does_not_break(connection):
    assert connection.run("printf 'a\\377b\\r\\nlast'").output == "a�b\nlast"


def test_a_failed_script_gives_its_own_cause(connection):
    with pytest.raises(HostError) as caught:
        connection.run("echo '::fail the disk is full'; echo noise >&2; exit 1")
    assert caught.value.cause == "the disk is full"


def test_a_failed_script_without_a_cause_gives_its_last_words_and_status(connection):
    with pytest.raises(HostError, match=r"last words \(exit status 7\)"):
        connection.run("echo first >&2; echo last words >&2; exit 7")
    with pytest.raises(HostError, match="exit status 3"):
        connection.run("exit 3")


def test_a_killed_script_is_told_apart_from_a_cut_link(connection):
    with pytest.raises(HostError, match="exit status 137") as caught:
        connection.run("kill -9 $$")
    assert not isinstance(caught.value, UnreachableError)
    assert connection.run("echo still here").output == "still here"


def test_a_script_that_takes_too_long_is_given_up_with_its_step(connection):
    start = time.monotonic()
    with pytest.raises(HostTimeoutError, match=r"not done in 2 s \(at: wait\)"):
        connection.run("echo ::step wait; sleep 6", timeout=2)
    assert time.monotonic() - start < 5
    assert connection.run("echo still here").output == "still here"


def test_scripts_run_side_by_side_on_one_connection(connection):
    outputs = {}
    threads = [
        threading.Thread(target=lambda n=n: outputs.__setitem__(n, connection.run(f"sleep 1.5; echo {n}").output))
        for n in range(5)
    ]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {n: str(n) for n in range(5)}
    assert time.monotonic() - start < 5


@pytest.fixture
def either_connection(tmp_path, options):
    """A connection to an sshd with the options of `WAYS`."""
    with Sshd(tmp_path / "either", *options) as server, connect(server.host(), server.settings()) as connection:
        yield connection


@WAYS
def test_no_more_sessions_than_sshd_allows_is_a_clear_error(tmp_path, options):
    with (
        Sshd(tmp_path / "sshd", *options, "MaxSessions 1") as server,
        connect(server.host(), server.settings()) as connection,
    ):
        with connection.hold("echo ::fact held yes; cat >/dev/null"), pytest.raises(HostError, match="MaxSessions"):
            connection.run("true")
        assert connection.run("echo again").output == "again"


@WAYS
def test_a_cut_link_is_noticed_at_once(tmp_path, options):
    with Sshd(tmp_path / "sshd", *options) as server, connect(server.host(), server.settings()) as connection:
        threading.Timer(0.5, server.kill_sessions).start()
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="lost"):
            connection.run("sleep 20")
        assert time.monotonic() - start < 5
        assert not connection.alive
        with pytest.raises(UnreachableError, match="lost"):
            connection.run("true")


def test_a_host_that_goes_silent_is_noticed(breakable, monkeypatch):
    monkeypatch.setattr("cloudmesh.cluster.ssh.connection._KEEPALIVE", 0.1)
    monkeypatch.setattr("cloudmesh.cluster.ssh.connection._SILENCE", 0.5)
    with connect(breakable.host(), breakable.settings()) as connection:
        sessions = breakable.sessions()
        breakable.kill_sessions(signal.SIGSTOP)
        start = time.monotonic()
        try:
            with pytest.raises(UnreachableError):
                connection.run("true", timeout=20)
            assert time.monotonic() - start < 5
        finally:
            for pid in sessions:
                with contextlib.suppress(ProcessLookupError):  # one that heard of the end before it was stopped
                    os.kill(pid, signal.SIGCONT)


def test_a_held_script_lives_until_it_is_released(connection, tmp_path):
    script = f"echo ::fact since today; echo ::fact held yes; cat >/dev/null; echo over >{tmp_path}/over"
    with connection.hold(script, files={"holder": b"me"}) as held:
        assert held.alive
        assert not (tmp_path / "over").exists()
    assert (tmp_path / "over").read_text() == "over\n"
    assert not held.alive


def test_a_held_script_hears_from_the_operator(connection, monkeypatch):
    monkeypatch.setattr("cloudmesh.cluster.ssh.connection._HEARTBEAT", 0.05)
    with connection.hold("echo ::fact held yes; head -c 3 >/dev/null") as held:
        deadline = time.monotonic() + 5
        while held.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not held.alive


def test_a_script_that_cannot_hold_says_why(connection):
    with pytest.raises(HostError, match="ann holds it since noon"):
        connection.hold("echo '::fail ann holds it since noon'; exit 1")
    with pytest.raises(HostError, match="without holding"):
        connection.hold("true")
    with pytest.raises(HostTimeoutError):
        connection.hold("sleep 2", timeout=0.3)


def test_what_is_held_does_not_outlive_the_link(breakable, tmp_path):
    lost = tmp_path / "lost"
    connection = connect(breakable.host(), breakable.settings())
    held = connection.hold(f"echo ::fact held yes; cat >/dev/null; echo yes >{lost}")
    breakable.kill_sessions()
    deadline = time.monotonic() + 10
    while (held.alive or not lost.exists()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lost.exists()
    assert not held.alive
    held.release()
    connection.close()


@pytest.fixture
def echo():
    """The port of a server that answers, when its client has ended, with everything the client sent."""

    def serve(client: socket.socket) -> None:
        client.sendall(b"".join(iter(lambda: client.recv(CHUNK), b"")))

    with listening(serve) as port:
        yield port


@WAYS
def test_a_tunnel_carries_both_ways_and_half_closes(either_connection, echo):
    data = os.urandom(3_000_000)
    with either_connection.forward("127.0.0.1", echo) as tunnel:
        assert asked(tunnel.port, data) == data


def test_a_tunnel_serves_many_at_once(connection, echo):
    payloads = {number: os.urandom(200_000) for number in range(20)}
    with connection.forward("localhost", echo) as tunnel:
        assert all_asked(tunnel.port, payloads) == payloads


def test_connections_that_break_off_do_not_take_the_link_with_them(connection):
    """Data that follows a channel's close makes sshd end the whole connection."""
    with listening(lambda client: client.recv(1)) as port:

        def send():
            for _ in range(10):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", tunnel.port), 5) as client:
                    for _ in range(100):
                        client.sendall(b"x" * 20000)

        with connection.forward("127.0.0.1", port) as tunnel:
            threads = [threading.Thread(target=send) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert connection.run("echo still here").output == "still here"


@WAYS
def test_a_tunnel_to_a_closed_port_ends_its_client(either_connection):
    with either_connection.forward("127.0.0.1", free_port()) as tunnel:
        assert asked(tunnel.port, b"") == b""


def test_why_nothing_came_through_a_tunnel_is_told(tmp_path, connection, echo):
    with connection.forward("127.0.0.1", echo) as tunnel:
        assert (asked(tunnel.port, b"hello"), tunnel.failure) == (b"hello", "")
    nowhere = free_port()
    with connection.forward("127.0.0.1", nowhere) as tunnel:
        assert (asked(tunnel.port, b""), tunnel.failure) == (b"", f"nothing answers there at 127.0.0.1:{nowhere}")
    for number, option in enumerate(("AllowTcpForwarding no", f"PermitOpen 127.0.0.1:{echo}")):
        with (
            Sshd(tmp_path / str(number), option) as strict,
            connect(strict.host(), strict.settings()) as way,
            way.forward("127.0.0.1", 1) as tunnel,
        ):
            assert asked(tunnel.port, b"") == b""
            assert tunnel.failure.startswith("sshd there forbids forwarding to 127.0.0.1:1 ")


def test_a_closed_tunnel_leaves_nothing_open(connection, echo):
    tunnel = connection.forward("127.0.0.1", echo)
    client = socket.create_connection(("127.0.0.1", tunnel.port), 5)
    client.sendall(b"x")
    time.sleep(0.2)
    tunnel.close()
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", tunnel.port), 5)


def test_a_cut_link_ends_a_tunnels_clients(breakable, echo):
    with connect(breakable.host(), breakable.settings()) as connection, connection.forward("127.0.0.1", echo) as tunnel:
        client = socket.create_connection(("127.0.0.1", tunnel.port), 5)
        client.sendall(b"x")
        time.sleep(0.2)
        breakable.kill_sessions()
        assert client.recv(1) == b""


def test_nothing_of_a_script_stays_on_the_host(connection):
    where = connection.run("pwd", files={"secret": b"x"}).output
    deadline = time.monotonic() + 2  # the directory goes when the shell ends, a moment after the script
    while Path(where).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(where).exists()
