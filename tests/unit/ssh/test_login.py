"""Reaching a host and logging in: each thing that can be wrong has a cause of its own. Against a real sshd."""

import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from support.listener import listening
from support.sshd import (
    BINARY,
    MARKS,
    ONLY_OPENSSH,
    Sshd,
    encrypt_key,
    free_port,
    home,
    make_key,
    make_rsa_key,
    run_agent,
    server,
    throw_away_user,
)

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import AuthenticationError, HostKeyError, UnreachableError, UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import known_hosts, openssh_config, parallel
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home", "server"]
pytestmark = MARKS


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with Sshd(tmp_path_factory.mktemp("gate")) as server:
        yield server


def reaches(host: Host, settings: SshSettings) -> bool:
    with connect(host, settings) as connection:
        return connection.run("echo there").output == "there"


def config(home, text: str) -> None:
    openssh_config.ask.cache_clear()
    (home / ".ssh" / "config").write_text(text)


# --- host keys


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_the_flag(server, tmp_path):
    with pytest.raises(HostKeyError) as caught:
        connect(server.host(), SshSettings(tmp_path / "our_known_hosts"))
    assert known_hosts.fingerprint(server.host_key) in caught.value.cause
    assert "--accept-new-hostkeys" in caught.value.cause
    assert not (tmp_path / "our_known_hosts").exists()


def test_an_unknown_host_key_is_kept_once_accepted(server, tmp_path):
    settings = SshSettings(tmp_path / "our_known_hosts", accept_new_hostkeys=True)
    assert reaches(server.host(), settings)
    assert known_hosts.hosts(tmp_path / "our_known_hosts") == (server.host(),)
    assert reaches(server.host(), SshSettings(tmp_path / "our_known_hosts"))


@pytest.mark.parametrize("answer", [True, False])
def test_the_user_is_asked_about_an_unknown_host_key(server, tmp_path, answer):
    questions = []
    settings = SshSettings(tmp_path / "our_known_hosts", confirm=lambda question: questions.append(question) or answer)
    if answer:
        assert reaches(server.host(), settings)
    else:
        with pytest.raises(HostKeyError):
            connect(server.host(), settings)
    assert len(questions) == 1
    assert known_hosts.fingerprint(server.host_key) in questions[0]


def test_a_changed_host_key_is_refused_whatever_the_flags(server, tmp_path):
    other = make_key(tmp_path / "other")
    (tmp_path / "our_known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}\n")
    with pytest.raises(HostKeyError, match="CHANGED") as caught:
        connect(
            server.host(), SshSettings(tmp_path / "our_known_hosts", accept_new_hostkeys=True, confirm=lambda _: True)
        )
    assert known_hosts.fingerprint(other) in caught.value.cause
    assert known_hosts.fingerprint(server.host_key) in caught.value.cause
    assert (tmp_path / "our_known_hosts").read_text().count("\n") == 1


def test_a_key_of_another_type_than_the_known_one_is_a_change(server, tmp_path):
    (tmp_path / "our_known_hosts").write_text(f"[127.0.0.1]:{server.port} {make_rsa_key(tmp_path / 'rsa')}\n")
    with pytest.raises(HostKeyError, match="CHANGED"):
        connect(server.host(), SshSettings(tmp_path / "our_known_hosts", accept_new_hostkeys=True))


def test_a_revoked_key_is_refused(server, tmp_path):
    line = f"[127.0.0.1]:{server.port} {server.host_key}\n"
    (tmp_path / "our_known_hosts").write_text(f"{line}@revoked {line}")
    with pytest.raises(HostKeyError, match="revoked"):
        connect(server.host(), SshSettings(tmp_path / "our_known_hosts", accept_new_hostkeys=True))


def test_the_users_own_known_hosts_count(server, home):
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", home / ".ssh" / "known_hosts"], check=True, capture_output=True)
    assert reaches(server.host(), SshSettings(home / "our_known_hosts"))
    assert not (home / "our_known_hosts").exists()


def test_a_host_known_elsewhere_is_remembered_when_asked_to(server, home):
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    with connect(server.host(), SshSettings(home / "our_known_hosts")) as connection:
        connection.remember()
    assert known_hosts.hosts(home / "our_known_hosts") == (server.host(),)


def test_of_several_host_keys_the_known_one_is_asked_for(tmp_path):
    public = make_rsa_key(tmp_path / "rsa")
    with Sshd(tmp_path / "sshd", f"HostKey {tmp_path}/rsa") as server:
        (tmp_path / "our_known_hosts").write_text(f"[127.0.0.1]:{server.port} {public}\n")
        assert reaches(server.host(), SshSettings(tmp_path / "our_known_hosts"))
        assert reaches(server.host(), server.settings())


def test_a_local_host_is_known_by_the_key_it_was_made_with(server, tmp_path):
    private = server.client_key.read_text()
    host = Host("demo-1", "root", server.port, address="127.0.0.1", private_key=private, host_key=server.host_key)
    settings = SshSettings(tmp_path / "our_known_hosts")
    with connect(host, settings) as connection:
        connection.remember()
    assert not (tmp_path / "our_known_hosts").exists()


def test_a_local_host_with_another_key_is_refused(server, tmp_path):
    private, other = server.client_key.read_text(), make_key(tmp_path / "other")
    host = Host("demo-1", "root", server.port, address="127.0.0.1", private_key=private, host_key=other)
    (tmp_path / "our_known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    with pytest.raises(HostKeyError, match="CHANGED"):
        connect(host, SshSettings(tmp_path / "our_known_hosts", accept_new_hostkeys=True))


def test_a_known_key_of_a_type_that_nobody_knows_is_no_change(server, tmp_path):
    (tmp_path / "our_known_hosts").write_text(f"[127.0.0.1]:{server.port} ssh-mldsa-44 AAAADHNzaC1tbGRzYS00NA==\n")
    with pytest.raises(HostKeyError, match="unknown host key"):
        connect(server.host(), SshSettings(tmp_path / "our_known_hosts"))


def test_strict_checking_of_host_keys_never_asks(server, home):
    config(home, "Host *\n StrictHostKeyChecking yes\n")
    with pytest.raises(HostKeyError, match="unknown host key"):
        connect(server.host(), SshSettings(home / "our_known_hosts", confirm=lambda _: True))


def test_a_host_key_accepted_by_the_configuration_is_remembered(server, home):
    config(home, "Host *\n StrictHostKeyChecking accept-new\n")
    assert reaches(server.host(), SshSettings(home / "our_known_hosts"))
    assert known_hosts.hosts(home / "our_known_hosts") == (server.host(),)


def test_a_known_hosts_file_that_cannot_be_read_is_noted_and_the_others_count(server, home):
    (home / "folder").mkdir()
    config(home, f"Host *\n UserKnownHostsFile {home}/folder {home}/mine\n")
    (home / "mine").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    notes = []
    assert reaches(server.host(), SshSettings(home / "our_known_hosts", note=notes.append))
    assert len(notes) == 1
    assert f"{home}/folder cannot be read" in notes[0]


# --- keys of the user


def test_a_wrong_key_is_refused_naming_user_and_key(server, tmp_path):
    make_key(tmp_path / "wrong")
    with pytest.raises(AuthenticationError, match=r"user root: the host refused .*/wrong"):
        connect(server.host(key=str(tmp_path / "wrong")), server.settings())


def test_no_key_at_all_is_told_apart(server):
    with pytest.raises(AuthenticationError, match="no key to log in with as user root"):
        connect(server.host(key=""), server.settings())


def test_a_missing_key_file_is_named(server, tmp_path):
    with pytest.raises(AuthenticationError, match=r"/missing does not exist"):
        connect(server.host(key=str(tmp_path / "missing")), server.settings())


def test_a_file_that_is_no_key_is_named(server, tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(AuthenticationError, match="/text is no private key"):
        connect(server.host(key=str(tmp_path / "text")), server.settings())


@pytest.fixture
def encrypted(tmp_path, monkeypatch):
    monkeypatch.setattr("cloudmesh.cluster.ssh.interactive_login._answers", {})
    public = make_key(tmp_path / "encrypted")
    encrypt_key(tmp_path / "encrypted", "let me in")
    with Sshd(tmp_path / "sshd", authorized=public) as server:
        yield server, server.host(key=str(tmp_path / "encrypted"))


def test_an_encrypted_key_is_named_and_not_asked_for(encrypted):
    server, host = encrypted
    with pytest.raises(AuthenticationError, match="is encrypted and not in the agent: ssh-add"):
        connect(host, server.settings())


def test_an_encrypted_key_is_opened_by_its_passphrase(encrypted):
    server, host = encrypted
    with pytest.raises(AuthenticationError, match="passphrase was wrong"):
        connect(host, server.settings(passphrase=lambda path: "mistyped"))
    assert reaches(host, server.settings(passphrase=lambda path: "let me in"))


def test_a_passphrase_is_asked_for_once_for_all_hosts(encrypted, home):
    server, host = encrypted
    config(home, "Host h*\n HostName 127.0.0.1\n")
    questions = []
    settings = server.settings(passphrase=lambda path: questions.append(path) or "let me in")
    outcomes = parallel.connect_all([server.host(f"h{number}", key=host.key) for number in range(3)], settings)
    for connection in outcomes.or_raise().values():
        connection.close()
    assert questions == [host.key]


def test_a_password_is_asked_for_where_the_host_takes_one(tmp_path):
    password = "correct horse"  # noqa: S105 - of a user that lives for one test
    with throw_away_user() as user, Sshd(tmp_path / "sshd", "PasswordAuthentication yes", "UsePAM yes") as server:
        subprocess.run(["chpasswd"], input=f"{user}:{password}".encode(), check=True)
        host = server.host(user=user, key="")
        with pytest.raises(AuthenticationError, match=f"and the password of user {user}"):
            connect(host, server.settings(password=lambda who: "wrong"))
        questions = []
        settings = server.settings(password=lambda who: questions.append(who) or password)
        with pytest.raises(AuthenticationError, match="sudo"):  # it is in, and may do nothing there
            connect(host, settings)
        assert questions == [f"{user}@{host}"]


def test_a_user_who_needs_no_proof_is_let_in(tmp_path):
    options = ("AuthenticationMethods none", "PermitEmptyPasswords yes", "PasswordAuthentication yes")
    with throw_away_user() as user, Sshd(tmp_path / "sshd", *options) as server:
        subprocess.run(["passwd", "--delete", user], check=True, capture_output=True)
        with pytest.raises(AuthenticationError, match="sudo"):  # it is in, and may do nothing there
            connect(server.host(user=user, key=""), server.settings())


@contextmanager
def agent(directory, monkeypatch, *keys):
    sock = directory / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
    with run_agent(sock, *keys):
        yield


def test_the_agents_keys_are_tried(server, tmp_path, monkeypatch):
    make_key(tmp_path / "wrong")
    with agent(tmp_path, monkeypatch, tmp_path / "wrong", server.client_key):
        assert reaches(server.host(key=""), server.settings())


def test_the_default_key_file_is_tried(server, home):
    shutil.copy(server.client_key, home / ".ssh" / "id_ed25519")
    assert reaches(server.host(key=""), server.settings())


def test_too_many_keys_are_told_apart_from_a_wrong_one(server, tmp_path, monkeypatch):
    keys = [tmp_path / f"k{number}" for number in range(8)]
    for key in keys:
        make_key(key)
    with agent(tmp_path, monkeypatch, *keys), pytest.raises(AuthenticationError, match="hung up after that many"):
        connect(server.host(key=""), server.settings())


def test_a_host_without_key_login_says_what_it_allows(tmp_path):
    with (
        Sshd(tmp_path / "sshd", "PubkeyAuthentication no", "PasswordAuthentication yes") as server,
        pytest.raises(AuthenticationError, match="cannot log in by key, only by password"),
    ):
        connect(server.host(), server.settings())


@pytest.fixture
def silent_agent(home, monkeypatch):
    """An agent that takes connections and does not answer."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "silent"))
        listener.listen(16)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "silent"))
        monkeypatch.setattr("cloudmesh.cluster.ssh.keys._AGENT_SECONDS", 0.5)
        yield home / "silent"


def test_an_agent_that_never_answers_is_passed_over(server, silent_agent):
    start = time.monotonic()
    assert reaches(server.host(), server.settings())
    with pytest.raises(AuthenticationError, match=f"the SSH agent at {silent_agent} does not answer"):
        connect(server.host(key=""), server.settings())
    assert time.monotonic() - start < 15


def test_a_key_file_that_others_may_read_is_refused_as_ssh_does(server, tmp_path):
    (tmp_path / "open").write_bytes(server.client_key.read_bytes())
    (tmp_path / "open").chmod(0o640)
    with pytest.raises(AuthenticationError, match=r"may be read by others \(mode 0640\).*chmod 600"):
        connect(server.host(key=str(tmp_path / "open")), server.settings())


def test_that_the_configuration_forbids_keys_is_told(server, home):
    config(home, "Host *\n PubkeyAuthentication no\n")
    with pytest.raises(AuthenticationError, match="here has PubkeyAuthentication no: allow publickey"):
        connect(server.host(), server.settings())


def test_a_public_key_without_its_private_half_is_told(server):
    with pytest.raises(AuthenticationError, match="is a public key, whose private half is not in the agent"):
        connect(server.host(key=f"{server.client_key}.pub"), server.settings())


# --- the way


def test_a_login_may_take_longer_than_a_connection(tmp_path):
    script = tmp_path / "keys"
    options = (f"AuthorizedKeysCommand /bin/sh {script}", "AuthorizedKeysCommandUser root")
    with Sshd(tmp_path / "sshd", *options) as server:
        script.write_text(f"sleep 3; cat {server.client_key}.pub")
        (tmp_path / "sshd" / "authorized_keys").write_text("")
        assert reaches(server.host(), server.settings(connect_timeout=1))


def test_a_proxy_command_may_take_longer_than_a_connection(server, home):
    through = f"ssh -i {server.client_key} -p {server.port} -o StrictHostKeyChecking=no -W %h:%p 127.0.0.1"
    config(home, f"Host web\n HostName 127.0.0.1\n ProxyCommand sh -c 'sleep 2; exec {through}'\n")
    assert reaches(server.host("web"), server.settings(connect_timeout=1))


def test_the_time_for_a_connection_that_the_configuration_gives_is_heeded(server, home):
    config(home, "Host *\n ConnectTimeout 1\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="not as sshd does"):
            connect(server.host(port=listener.getsockname()[1]), server.settings())
        assert time.monotonic() - start < 5


def test_a_host_that_punishes_failed_logins_says_so(server, monkeypatch):
    monkeypatch.setattr("cloudmesh.cluster.ssh.connect._PENALTY_SECONDS", 0.1)
    with (
        listening(lambda client: client.sendall(b"Not allowed at this time\r\n")) as port,
        pytest.raises(UnreachableError, match="PerSourcePenalties"),
    ):
        connect(server.host(port=port), server.settings())


def test_a_host_whose_punishment_of_failed_logins_ends_soon_is_waited_for(server):
    refusals, told = [b"Not allowed at this time\r\n"], []

    def refuse_first(client):
        if refusals:
            client.sendall(refusals.pop())
        else:
            sshd = [BINARY, "-i", "-f", f"{server.directory}/sshd_config"]
            subprocess.run(sshd, stdin=client.fileno(), stdout=client.fileno(), check=False)

    with listening(refuse_first) as port:
        assert reaches(server.host(port=port), server.settings(note=told.append, accept_new_hostkeys=True))
    assert len(told) == 1
    assert "PerSourcePenalties there; waiting for up to 60 s" in told[0]


def test_an_unknown_name_is_a_dns_failure(server):
    with pytest.raises(UnreachableError, match=r"DNS knows no address of no-such-host\.invalid"):
        connect(server.host("no-such-host.invalid"), server.settings())


def test_a_closed_port_is_a_refused_connection(server):
    with pytest.raises(UnreachableError, match=r"connection refused at 127\.0\.0\.1 port"):
        connect(server.host(port=free_port()), server.settings())


def test_a_host_that_answers_nothing_is_no_answer(server):
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # a full backlog drops what comes: a host behind a firewall looks just so
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        with pytest.raises(UnreachableError, match=r"no answer from 127\.0\.0\.1 port \d+ in 0\.5 s"):
            connect(server.host(port=port), server.settings(connect_timeout=0.5))


def test_a_port_that_is_no_sshd_is_told_apart(server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UnreachableError, match="not as sshd does"):
            connect(server.host(port=port), server.settings(connect_timeout=0.5))


def test_sshd_hanging_up_on_newcomers_is_tried_again(tmp_path):
    with Sshd(tmp_path / "sshd", "MaxStartups 1") as server:
        while (idle := socket.create_connection(("127.0.0.1", server.port), 5)).recv(4) != b"SSH-":
            idle.close()
        # It has the only place, for longer than a host is tried that hangs up without a word.
        threading.Timer(3.6, idle.close).start()
        assert reaches(server.host(), server.settings())
        assert "MaxStartups" in (server.directory / "log").read_text()


def test_many_hosts_are_connected_at_once_and_the_bad_ones_listed(server, tmp_path, home):
    config(home, "Host h*\n HostName 127.0.0.1\n")
    hosts = [server.host(f"h{number}") for number in range(8)] + [server.host("h8", port=free_port())]
    outcomes = parallel.connect_all(hosts, server.settings())
    assert list(outcomes.values) == hosts[:8]
    assert list(outcomes.failures) == [str(hosts[8])]
    assert isinstance(outcomes.failures[str(hosts[8])], UnreachableError)
    for connection in outcomes.values.values():
        connection.close()


# --- ~/.ssh/config


def test_an_alias_of_the_configuration_is_followed(server, home):
    key = server.client_key
    config(home, f"Host web\n HostName 127.0.0.1\n Port {server.port}\n User root\n IdentityFile {key}\n")
    assert reaches(Host("web"), server.settings())


def test_what_the_user_gives_goes_before_the_configuration(server, home):
    config(home, "Host *\n HostName 127.0.0.1\n Port 1\n User nobody\n IdentityFile /none\n")
    assert reaches(server.host("web"), server.settings())


def test_included_files_are_followed_and_end_with_their_block(server, home):
    (home / ".ssh" / "more").mkdir()
    (home / ".ssh" / "more" / "a.conf").write_text("Host other\n User nobody\n")
    (home / ".ssh" / "more" / "b.conf").write_text(
        f"Host web\n Port {server.port}\n IdentityFile {server.client_key}\n"
    )
    config(home, "Host web\n User root\n Include more/*.conf\n HostName 127.0.0.1\n")
    assert reaches(Host("web"), server.settings())


def test_a_configuration_that_cannot_be_used_is_named(server, home):
    config(home, "Host web\n nonsense\n")
    with pytest.raises(UsageError, match=r"/\.ssh/config"):
        connect(Host("web"), server.settings())


def test_a_host_key_alias_is_followed(server, home):
    config(home, f"Host web\n HostName 127.0.0.1\n Port {server.port}\n HostKeyAlias the-web\n")
    (home / "our_known_hosts").write_text(f"the-web {server.host_key}\n")
    assert reaches(server.host("web", port=0), SshSettings(home / "our_known_hosts"))


def test_a_proxy_command_is_followed_with_its_tokens(server, home):
    code = "import socket,sys,os,threading as t; s=socket.create_connection(sys.argv[1:]); "
    code += 't.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,9999),b"")],daemon=True).start(); '
    code += '[os.write(1,d) for d in iter(lambda:s.recv(9999),b"")]'
    (home / "pipe.py").write_text(code)
    config(home, f"Host web\n HostName 127.0.0.1\n ProxyCommand python3 {home}/pipe.py %h %p\n")
    assert reaches(server.host("web"), server.settings())


def test_a_proxy_command_that_fails_is_an_unreachable_host(server, home):
    config(home, "Host web\n HostName 127.0.0.1\n ProxyCommand sh -c 'echo no bastion today >&2; exit 1'\n")
    with pytest.raises(UnreachableError, match=r"ProxyCommand gave no SSH connection: .*: no bastion today$"):
        connect(server.host("web"), server.settings(connect_timeout=1))


@pytest.mark.parametrize("other", ["", "#!/bin/sh\necho Dropbear client v2024.86 >&2\nexit 1\n"])
def test_without_openssh_s_client_its_files_are_read_and_that_is_told_once(server, home, monkeypatch, other):
    monkeypatch.setenv("PATH", str(home))
    if other:
        (home / "ssh").write_text(other)
        (home / "ssh").chmod(0o755)
    (home / ".ssh" / "conf.d" / "folder").mkdir(parents=True)
    (home / ".ssh" / "conf.d" / "web").write_text(
        f"Host web\n HostName 127.0.0.1\n Port {server.port}\n User root\n IdentityFile {server.client_key}\n"
    )
    config(home, "Include conf.d/*\nHost *\n ProxyCommand none\n ProxyJump none\n")
    notes = []
    for _ in range(2):
        assert reaches(Host("web"), server.settings(note=notes.append))
    assert ["OpenSSH's client is not installed" in note for note in notes] == [True]


# --- jump hosts


def jump_config(home, gate, jump: str) -> None:
    text = f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n User root\n IdentityFile {gate.client_key}\n"
    config(home, f"{text}Host inner*\n HostName 127.0.0.1\n ProxyJump {jump}\n")


def both(server, gate) -> SshSettings:
    settings = server.settings()
    with settings.known_hosts.open("a") as file:
        file.write(f"[127.0.0.1]:{gate.port} {gate.host_key}\n")
    return settings


def test_a_jump_host_is_gone_through(server, gate, home):
    jump_config(home, gate, "gate")
    before = (gate.directory / "log").read_text().count("Accepted publickey")
    assert reaches(server.host("inner"), both(server, gate))
    assert (gate.directory / "log").read_text().count("Accepted publickey") == before + 1


def test_several_jump_hosts_with_users_and_ports_are_gone_through(server, gate, home, tmp_path):
    shutil.copy(gate.client_key, home / ".ssh" / "id_ed25519")
    jump_config(home, gate, f"gate,root@127.0.0.1:{gate.port}")
    assert reaches(server.host("inner"), both(server, gate))


def test_hosts_behind_one_jump_host_share_its_connection(server, gate, home):
    jump_config(home, gate, "gate")
    before = (gate.directory / "log").read_text().count("Accepted publickey")
    hosts = [server.host(f"inner{number}") for number in range(6)]
    connections = parallel.connect_all(hosts, both(server, gate)).or_raise().values()
    assert (gate.directory / "log").read_text().count("Accepted publickey") == before + 1
    first, *others = connections
    for connection in others:
        connection.close()
    assert first.run("echo there").output == "there"
    first.close()
    deadline = time.monotonic() + 5
    while gate.sessions() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gate.sessions() == []


def test_a_jump_hosts_key_is_verified_too(server, gate, home, tmp_path):
    jump_config(home, gate, "gate")
    with pytest.raises(HostKeyError, match=r"jump host gate: unknown host key"):
        connect(server.host("inner"), server.settings())
    settings = server.settings(accept_new_hostkeys=True)
    assert reaches(server.host("inner"), settings)
    assert [host.port for host in known_hosts.hosts(settings.known_hosts)] == [server.port]
    other = make_key(tmp_path / "other")
    settings.known_hosts.write_text(f"[127.0.0.1]:{gate.port} {other}\n")
    with pytest.raises(HostKeyError, match=r"jump host gate: .*CHANGED"):
        connect(server.host("inner"), settings)


def test_a_jump_host_that_is_down_is_named_once_for_all_behind_it(server, gate, home):
    jump_config(home, gate, f"root@127.0.0.1:{free_port()}")
    outcomes = parallel.connect_all([server.host(f"inner{number}") for number in range(5)], both(server, gate))
    assert len(outcomes.failures) == 5
    assert all("jump host 127.0.0.1" in str(failure) for failure in outcomes.failures.values())
    assert all("refused" in str(failure) for failure in outcomes.failures.values())


def test_a_host_that_its_jump_host_cannot_reach_is_told_apart(server, gate, home):
    jump_config(home, gate, "gate")
    with pytest.raises(UnreachableError, match=r"jump host gate has no way to 127\.0\.0\.1 port"):
        connect(server.host("inner", port=free_port()), both(server, gate))


def test_jump_hosts_that_go_round_in_a_circle_are_refused(server, gate, home):
    config(home, "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(UsageError, match="circle"):
        connect(Host("a"), server.settings())


def test_a_cut_jump_host_is_noticed(server, gate, home):
    jump_config(home, gate, "gate")
    with connect(server.host("inner"), both(server, gate)) as connection:
        threading.Timer(0.3, gate.kill_sessions).start()
        start = time.monotonic()
        with pytest.raises(UnreachableError):
            connection.run("sleep 20")
        assert time.monotonic() - start < 5


def test_a_host_that_is_waited_for_no_more_is_tried_in_no_other_way(home):
    config(home, f'Match exec "echo asked >>{home}/asked"\n')
    asked = []
    for is_given_up in (True, False):
        with pytest.raises(UnreachableError):
            connect(Host("127.0.0.1", port=1), SshSettings(home / "known"), is_given_up=lambda: is_given_up)  # noqa: B023
        asked.append((home / "asked").read_text().count("asked"))
    assert asked == [1, 2]  # the second time also for a connection that the user keeps open


def test_a_failed_connection_leaves_no_session_behind(server, gate, home, tmp_path):
    jump_config(home, gate, "gate")
    make_key(tmp_path / "wrong")
    with pytest.raises(AuthenticationError):
        connect(server.host("inner", key=str(tmp_path / "wrong")), both(server, gate))
    deadline = time.monotonic() + 5
    while gate.sessions() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gate.sessions() == []


def test_a_jump_host_that_only_openssh_can_speak_to_is_gone_through(server, home, tmp_path):
    with Sshd(tmp_path / "gate", ONLY_OPENSSH) as gate:
        jump_config(home, gate, "gate")
        assert reaches(server.host("inner"), both(server, gate))


@pytest.mark.parametrize("jumps", ["gate", "gate,gate2"])
def test_a_host_that_only_openssh_can_speak_to_is_reached_through_jump_hosts(gate, home, tmp_path, jumps):
    with Sshd(tmp_path / "inner", ONLY_OPENSSH) as server:
        jump_config(home, gate, jumps)
        with (home / ".ssh" / "config").open("a") as file:
            file.write(f"Host gate2\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {gate.client_key}\n")
        assert reaches(server.host("inner"), both(server, gate))
