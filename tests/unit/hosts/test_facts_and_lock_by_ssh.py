"""Facts and locks through a real sshd."""

from pathlib import Path

import pytest
from support.sshd import MARKS, Sshd, home, server

from cloudmesh.cluster.core.errors import HostError, LockedError
from cloudmesh.cluster.hosts import facts, lock, preflight
from cloudmesh.cluster.ssh.connect import connect

FILE = Path("/run/cloudmesh-cluster.lock")

__all__ = ["home", "server"]
pytestmark = MARKS


def test_facts_are_gathered_and_the_same_machine_is_found_under_two_names(server: Sshd) -> None:
    with connect(server.host(), server.settings()) as connection:
        answer = facts.gather(connection, ports=[server.port, 1])
    assert answer.busy_ports == (server.port,)
    assert abs(answer.skew) < 2
    hosts = {server.host(): answer, server.host("localhost"): answer}
    faults = preflight.check(hosts, preflight.Needs((1,), 1, 1), "demo", "a1")
    assert f"is the same machine as localhost:{server.port}" in faults[str(server.host())]


@pytest.mark.parametrize("cipher", ["aes128-ctr", "chacha20-poly1305@openssh.com"])
@pytest.mark.parametrize(
    ("setting", "forwards"),
    [
        ("AllowTcpForwarding yes", True),
        ("AllowTcpForwarding no", False),
        ("DisableForwarding yes", False),
        ("PermitOpen none", False),
    ],
)
def test_a_host_that_forwards_nothing_is_known_before_it_is_changed(
    tmp_path: Path, cipher: str, setting: str, forwards: bool
) -> None:
    with (
        Sshd(tmp_path / "sshd", setting, f"Ciphers {cipher}") as server,
        connect(server.host(), server.settings()) as connection,
    ):
        assert facts.gather(connection, ports=[]).forwards == forwards


def test_an_interface_that_does_not_exist_is_refused_with_the_host_named(server: Sshd) -> None:
    with (
        connect(server.host(), server.settings()) as connection,
        pytest.raises(HostError, match=r"^127\.0\.0\.1:\d+: no IPv4 address matches --interface 'nosuch0'; there are"),
    ):
        facts.gather(connection, ports=[], interface="nosuch0")


@pytest.mark.skipif(FILE.exists(), reason="this machine's own lock is held")
def test_the_second_operator_is_told_who_holds_the_cluster(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        connect(server.host(), server.settings()) as first,
        connect(server.host(), server.settings()) as second,
        lock.hold(first, "demo", "ann@laptop"),
    ):
        monkeypatch.setattr(lock, "_sessions", {})  # the second operator is another process
        with pytest.raises(LockedError, match=r"changed by ann@laptop for cluster demo since 20.* UTC: wait"):
            lock.hold(second, "demo", "bob@desk")
    assert not FILE.exists()


@pytest.mark.skipif(FILE.exists(), reason="this machine's own lock is held")
def test_the_lock_ends_with_the_connection(server: Sshd) -> None:
    with connect(server.host(), server.settings()) as first:
        lock.hold(first, "demo", "ann@laptop")
    with connect(server.host(), server.settings()) as second:
        lock.hold(second, "demo", "bob@desk").release()
    assert not FILE.exists()


@pytest.mark.skipif(FILE.exists(), reason="this machine's own lock is held")
def test_a_machine_that_we_locked_under_another_name_is_told_as_such(server: Sshd) -> None:
    key = server.client_key.read_text()
    alias = server.host("twin", address="127.0.0.1", host_key=server.host_key, private_key=key)
    with (
        connect(server.host(), server.settings()) as first,
        connect(alias, server.settings()) as second,
        lock.hold(first, "demo", "ann@laptop"),
        pytest.raises(HostError, match=r"^twin: is the same machine as 127\.0\.0\.1:\d+: name it once"),
    ):
        lock.hold(second, "demo", "ann@laptop")
