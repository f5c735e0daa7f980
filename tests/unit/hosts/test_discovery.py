"""Which clusters there are: what silence may not be taken for, and how long it is listened to."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.listener import listening
from support.notes import Notes
from support.sshd import MARKS, Sshd, free_port, home

from cloudmesh.cluster.cluster import connection_context
from cloudmesh.cluster.core.context import Context, SshSettings
from cloudmesh.cluster.core.errors import ClusterError, ImageError, NotFoundError
from cloudmesh.cluster.core.model import Host, Marker, Node, Role
from cloudmesh.cluster.hosts import discovery, marker
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.lifecycle.clean import clean_hosts
from cloudmesh.cluster.ssh import host_script, known_hosts
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home"]
pytestmark = MARKS


def context(directory: Path) -> Context:
    return Context(SshSettings(known_hosts=directory / "known_hosts"), Notes(), "me@here")


@pytest.fixture
def silent_daemon(monkeypatch: pytest.MonkeyPatch):
    """A Docker daemon that takes connections and says nothing."""
    monkeypatch.setattr(local_hosts, "_FIND_SECONDS", 0.5)
    with listening(lambda client: time.sleep(20)) as port:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        yield


def test_a_cluster_that_may_be_one_of_local_hosts_is_not_said_to_be_missing(silent_daemon, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"prod may be one of local hosts, .*did not answer in time") as caught:
        discovery.find(context(tmp_path), "prod")
    assert caught.value.exit_code == 1


def test_a_list_of_clusters_without_the_local_ones_says_so(silent_daemon, tmp_path: Path) -> None:
    operator = context(tmp_path)
    assert discovery.find_all(operator) == []
    assert [note for note in operator.report.notes if "local hosts could not be asked for" in note]


def test_where_no_docker_daemon_runs_there_are_no_local_hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(NotFoundError, match="no cluster called prod: there is no host to ask"):
        discovery.find(context(tmp_path), "prod")


@pytest.fixture
def no_local_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")


@pytest.fixture
def sshd(tmp_path: Path, no_local_hosts: None) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> None:
    """All hosts that answer say that they are the server of cluster "prod"."""
    file = marker.dumps(Marker("prod", "1", "nomad", Role.SERVER, "10.0.0.5", ("10.0.0.5",)))
    text = " ".join(file.decode().split())
    monkeypatch.setattr(host_script, "load", lambda *_: f"printf '::fact marker %s\\n' '{text}'\n")


@pytest.fixture
def silent_hosts() -> Iterator[list[Host]]:
    """Five hundred hosts from which nothing comes back, as from those that are gone: their queue is full."""
    with socket.create_server(("0.0.0.0", 0), backlog=0) as listener, ExitStack() as stack:  # noqa: S104 - all of 127/8
        port = listener.getsockname()[1]
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield [Host(f"127.0.{number // 250 + 1}.{number % 250 + 1}", port=port) for number in range(200)]


def remember(sshd: Sshd, *silent: Host) -> Context:
    """Return a context whose known_hosts file has the host of `sshd` behind silent ones, as after `create`."""
    operator = Context(sshd.settings(), Notes(), "me@here")
    store = operator.settings.known_hosts
    key = sshd.host_key
    lines = [f"{known_hosts.label(host.name, host.port)} {key} {known_hosts.comment_for(host)}\n" for host in silent]
    store.write_text("".join(lines))
    known_hosts.append(store, "127.0.0.1", sshd.port, key, known_hosts.comment_for(sshd.host()))
    return operator


@pytest.mark.usefixtures("member")
def test_hundreds_of_hosts_that_do_not_answer_hold_up_a_list_for_seconds_and_are_told(
    sshd: Sshd, silent_hosts: list[Host]
) -> None:
    operator = remember(sshd, *silent_hosts)
    started = time.monotonic()
    (discovered,) = discovery.find_all(operator)
    seconds = time.monotonic() - started
    discovered.__exit__()
    assert discovered.cluster == "prod"
    assert seconds < 30
    (note,) = [note for note in operator.report.notes if "no answer" in note]
    assert note.startswith("no answer from 200 hosts used before, 127.0.1.1:")
    assert "and 195 more: name one by --hosts to wait for it; those that are gone can be taken out of" in note


@pytest.mark.usefixtures("member")
def test_a_cluster_whose_host_needs_longer_is_found_by_its_name(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_PATIENCE_SECONDS", 0.0)
    with discovery.find(remember(sshd), "prod") as discovered:
        assert list(discovered.servers) == [sshd.host()]


def test_a_host_that_carries_no_cluster_is_not_asked_again_and_its_key_stays_known(sshd: Sshd) -> None:
    operator = remember(sshd)
    store = operator.settings.known_hosts
    assert discovery.list_candidates(operator).far == (sshd.host(),)
    assert discovery.find_all(operator) == []
    assert discovery.list_candidates(operator).far == ()
    assert [entry.key for entry in known_hosts.select(known_hosts.entries(store), "127.0.0.1", sshd.port)] == [
        sshd.host_key
    ]
    with connect(
        Host("127.0.0.1", port=sshd.port, user=sshd.host().user, key=sshd.host().key), operator.settings
    ) as connection:
        connection.remember()  # as `create` and `add` do
    assert discovery.list_candidates(operator).far == (sshd.host(),)


def test_a_host_that_was_cleaned_is_forgotten_and_how_it_is_reached_is_not(sshd: Sshd) -> None:
    operator = remember(sshd)
    with ExitStack() as stack:
        host = sshd.host()
        discovered = discovery.DiscoveredCluster("prod")
        clean_hosts(operator, discovered, "true", [host], stack).or_raise()
    assert discovery.list_candidates(operator).far == ()
    bare = Host("127.0.0.1", port=sshd.port)
    assert known_hosts.complete([bare], operator.settings.known_hosts) == (host,)


@pytest.mark.usefixtures("member")
@pytest.mark.parametrize("named", [True, False])
def test_user_and_key_given_once_are_used_by_later_commands(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.delenv("CLOUDMESH_CONFIG_DIR", raising=False)
    created = connection_context(accept_new_hostkeys=True)
    with connect(sshd.host(), created.settings) as connection:  # with a user, a key and a port
        connection.remember()
    later = connection_context(hosts="127.0.0.1" if named else "")
    with discovery.find(later, "prod") as discovered:
        assert list(discovered.servers) == [sshd.host()]
        # Of a host that only the engine knows, where it was reached is known, and not by which key.
        node = Node("h", "10.0.0.5", (Role.SERVER,), "ready", contact=f"{sshd.host().user}@127.0.0.1:{sshd.port}")
        assert discovery.host_of(node, later) == sshd.host()
    other = connection_context(hosts="127.0.0.1", user="nobody", key="/no/key")
    assert other.hosts == (Host("127.0.0.1", "nobody", sshd.port, "/no/key"),)


def test_a_host_that_could_not_be_cleaned_is_still_asked(sshd: Sshd) -> None:
    operator = remember(sshd)
    with ExitStack() as stack:
        assert clean_hosts(operator, discovery.DiscoveredCluster("prod"), "exit 1", [sshd.host()], stack).failures
    assert discovery.list_candidates(operator).far == (sshd.host(),)


def test_hosts_that_are_silent_are_told_where_no_cluster_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    operator = context(tmp_path)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    operator.settings.known_hosts.write_text(f"[127.0.0.1]:1 {key}\n")
    assert discovery.find_all(operator) == []
    (note,) = operator.report.notes
    assert note.startswith("no answer from a host used before, 127.0.0.1:1: name one by --hosts to wait for it")


@pytest.mark.usefixtures("member")
def test_a_cluster_that_may_be_on_a_host_without_an_answer_is_not_said_to_be_missing(sshd: Sshd) -> None:
    gone = Host("127.0.0.1", port=free_port())
    operator = remember(sshd, gone)
    with pytest.raises(ClusterError, match="whether there is a cluster called test is not known") as caught:
        discovery.find(operator, "test")
    assert caught.value.exit_code == 1
    assert f"({sshd.host()}), and others did not answer: {gone}: connection refused" in str(caught.value)
    with pytest.raises(NotFoundError, match=f"no cluster called test: none of the hosts asked.*{sshd.host()}"):
        discovery.find(remember(sshd), "test")


@pytest.mark.usefixtures("member")
def test_a_local_host_of_another_cluster_that_is_stopped_leaves_no_doubt(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Host("other-1", port=free_port(), address="127.0.0.1")
    monkeypatch.setattr(local_hosts, "find", lambda: {"other": (stopped,)})
    with pytest.raises(NotFoundError, match=rf"^no cluster called test: none .*\({sshd.host()}\)"):
        discovery.find(remember(sshd), "test")
    with pytest.raises(ClusterError, match="whether there is a cluster called other is not known"):
        discovery.find(remember(sshd), "other")
