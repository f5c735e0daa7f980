"""Known host keys: OpenSSH's format, read and written as OpenSSH does."""

import stat
import subprocess
import threading

import pytest
from support.sshd import make_key

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import known_hosts


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "key")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "new" / "known_hosts"


def lookup(name, port, paths):
    return known_hosts.select((entry for path in paths for entry in known_hosts.entries(path)), name, port)


def test_the_file_follows_the_cloudmesh_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("CLOUDMESH_CONFIG_DIR", str(tmp_path))
    assert known_hosts.default_path() == tmp_path / "cluster" / "known_hosts"
    monkeypatch.delenv("CLOUDMESH_CONFIG_DIR")
    monkeypatch.setenv("HOME", "/home/ann")
    assert str(known_hosts.default_path()) == "/home/ann/.cloudmesh/cluster/known_hosts"


def test_the_fingerprint_is_openssh_s(tmp_path, key):
    shown = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True)
    assert known_hosts.fingerprint(key) == shown.stdout.split()[1]


def test_an_accepted_key_is_found_again_and_private(store, key):
    known_hosts.append(store, "h1", 2222, key)
    assert [entry.key for entry in lookup("H1", 2222, [store])] == [key]
    assert lookup("h1", 22, [store]) == []
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700


def test_openssh_reads_what_is_written(store, key):
    known_hosts.append(store, "h1", 2222, key, known_hosts.comment_for(Host("my alias", user="bob", key="/a b/k")))
    search = subprocess.run(
        ["ssh-keygen", "-F", "[h1]:2222", "-f", str(store)], capture_output=True, text=True, check=True
    )
    assert key in search.stdout


def test_what_openssh_writes_is_understood(tmp_path, key):
    path = tmp_path / "known_hosts"
    path.write_text(f"# comment\n\nh1,10.0.0.1 {key}\n[h2]:2222 {key} bob's\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(path)], check=True, capture_output=True)
    assert path.read_text().count("|1|") == 3
    for name, port in [("h1", 22), ("10.0.0.1", 22), ("h2", 2222)]:
        assert [entry.key for entry in lookup(name, port, [path])] == [key]
    assert lookup("h2", 22, [path]) == []


def test_patterns_and_exceptions_are_understood(tmp_path, key):
    path = tmp_path / "known_hosts"
    path.write_text(f"*.lan,!bad.lan,n? {key}\n@revoked * {key}\n@cert-authority * {key}\ngarbage\n")
    entries = lookup("a.lan", 22, [path])
    assert [(entry.revoked, entry.authority) for entry in entries] == [(False, False), (True, False), (False, True)]
    assert [entry.revoked for entry in lookup("bad.lan", 22, [path])] == [True, False]
    assert [entry.revoked for entry in lookup("n1", 22, [path])] == [False, True, False]


def test_how_a_host_was_reached_comes_back(store, key):
    hosts = (Host("alias", user="bob", port=2222, key="/home/bob/my key"), Host("h2"), Host("::1"))
    for address, host in zip(("10.0.0.1", "h2", "::1"), hosts, strict=True):
        known_hosts.append(store, address, host.port or 22, key, known_hosts.comment_for(host))
    assert known_hosts.hosts(store) == hosts


def test_jump_hosts_and_patterns_are_not_hosts_of_clusters(store, key):
    known_hosts.append(store, "gate", 22, key, known_hosts.JUMP)
    known_hosts.append(store, "[h1", 22, key, known_hosts.JUMP)
    store.write_text(store.read_text() + f"*.lan {key}\n|1|aa=|bb= {key}\n[plain]:23 {key}\n")
    assert known_hosts.hosts(store) == (Host("plain", port=23),)


def test_no_file_means_no_hosts(store):
    assert known_hosts.hosts(store) == ()
    assert not store.exists()


def test_the_same_key_is_kept_once_with_its_latest_comment(store, key):
    for comment in ("jump", "name=a", "name=a", "name=b"):
        known_hosts.append(store, "h1", 22, key, comment)
    assert [entry.comment for entry in known_hosts.entries(store)] == ["name=b"]


def test_many_writers_lose_nothing(store, key):
    threads = [threading.Thread(target=known_hosts.append, args=(store, f"h{n}", 22, key)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known_hosts.hosts(store)) == 30


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path, key):
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match="cannot be written"):
        known_hosts.append(tmp_path / "file" / "known_hosts", "h1", 22, key)


def test_a_host_is_reached_again_as_it_was_before_and_what_is_given_now_goes_before_it(
    store, key, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    known_hosts.append(store, "10.0.0.1", 2222, key, known_hosts.comment_for(Host("h1", "bob", 2222, "id_bob")))
    known_hosts.append(store, "h2", 22, key, known_hosts.comment_for(Host("h2", "eve")))
    known_hosts.append(store, "gate", 22, key, known_hosts.JUMP)
    file = str(tmp_path / "id_bob")  # it is found from any folder
    named = [
        Host("h1"),
        Host("h1", user="ann"),
        Host("h1", port=22),
        Host("10.0.0.1", "root", 2222),
        Host("h2"),
        Host("gate"),
    ]
    assert known_hosts.complete(named, store) == (
        Host("h1", "bob", 2222, file),
        Host("h1", "ann", 2222, file),
        Host("h1", port=22),
        Host("10.0.0.1", "root", 2222, file),
        Host("h2", "eve"),
        Host("gate"),
    )
    assert known_hosts.complete(named, tmp_path / "none") == tuple(named)


def test_who_is_forgotten_keeps_its_key_until_it_is_met_again(store, key):
    host = Host("h1", "bob")
    known_hosts.append(store, "h1", 22, key, known_hosts.comment_for(host))
    known_hosts.append(store, "h2", 22, key, known_hosts.comment_for(Host("h2")))
    for _ in range(2):
        known_hosts.forget(store, "H1", 22)
        assert known_hosts.hosts(store) == (Host("h2"),)
        assert [entry.comment for entry in known_hosts.select(known_hosts.entries(store), "h1", 22)] == [
            "gone name=h1 user=bob"
        ]
    known_hosts.append(store, "h1", 22, key, known_hosts.comment_for(host))
    assert known_hosts.hosts(store) == (Host("h2"), host)
    known_hosts.forget(store.with_name("none"), "h1", 22)
    assert not store.with_name("none").exists()
