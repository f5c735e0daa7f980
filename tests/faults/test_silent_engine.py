"""An engine that was started and is silent: nothing is installed again, no secret made anew, no host forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cms import Operator
from support.hosts import ContainerHost, HostGroup, make_unique_name, start_hosts

pytestmark = pytest.mark.cluster

UNTOUCHED = """
systemctl show -p MainPID -p ActiveEnterTimestampMonotonic docker cloudmesh-registry cloudmesh-nomad
sha256sum /etc/cloudmesh/cluster/ca.pem /etc/cloudmesh/cluster/host.pem
"""


@dataclass(frozen=True)
class Pair:
    """A cluster of a server and a worker, and the operator who made it."""

    name: str
    group: HostGroup
    operator: Operator

    def create(self) -> tuple[str, ...]:
        return ("create", "-n", self.name, *self.group.where)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    name = make_unique_name("silent")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 2) as group:
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        pair = Pair(name, group, operator)
        operator.cms(*pair.create()).ok()
        yield pair


def read_states(hosts: tuple[ContainerHost, ...]) -> list[str]:
    return [host.run(UNTOUCHED) for host in hosts]


def test_create_again_installs_nothing_while_the_engine_is_silent_and_names_the_server(pair: Pair) -> None:
    server, _ = pair.group.hosts
    server.run("systemctl stop cloudmesh-nomad")
    before = read_states(pair.group.hosts)
    cause = f"^{server.where}: the engine of cluster {pair.name} does not answer here, so that nothing was changed: "
    pair.operator.cms(*pair.create(), seconds=150).expect_failure(1, cause)
    assert read_states(pair.group.hosts) == before
    server.run("systemctl start cloudmesh-nomad")
    assert "nothing to do" in pair.operator.cms(*pair.create()).ok().stderr


def test_secrets_that_are_gone_are_not_made_anew(pair: Pair) -> None:
    server, worker = pair.group.hosts
    before = read_states(pair.group.hosts)
    server.run("mv /etc/cloudmesh/cluster/secrets.json /root/")
    started = f"^cluster {pair.name} was started on {server.where}, {worker.where}, but no server .* has its secrets"
    pair.operator.cms(*pair.create()).expect_failure(1, started)
    server.run("touch /etc/cloudmesh/cluster/secrets.json")
    pair.operator.cms(*pair.create()).expect_failure(1, f"^{server.where}: the cluster's secrets there .* are damaged")
    server.run("mv /root/secrets.json /etc/cloudmesh/cluster/")
    assert read_states(pair.group.hosts) == before
    assert "nothing to do" in pair.operator.cms(*pair.create()).ok().stderr


def test_kill_by_one_server_whose_engine_is_silent_cleans_the_others_or_lists_them(pair: Pair, tmp_path: Path) -> None:
    server, worker = pair.group.hosts
    server.run("systemctl stop cloudmesh-nomad")
    stranger = dataclasses.replace(pair.operator, home=tmp_path)
    kill = ("kill", "-n", pair.name, f"--hosts={server.where}", "--yes")
    worker.run("systemctl stop ssh.socket ssh")
    errors = stranger.cms(*kill).expect_failure(1, f"^{worker.where}: ")
    assert len(errors) == 1
    assert not server.succeeds("ls /etc/cloudmesh")
    worker.run("systemctl start ssh")
    pair.operator.cms("kill", "-n", pair.name, "--yes")
    assert not worker.succeeds("ls /etc/cloudmesh")

    pair.operator.cms(*pair.create()).ok()
    server.run("systemctl stop cloudmesh-nomad")
    home = tmp_path / "other"
    home.mkdir()
    dataclasses.replace(pair.operator, home=home).cms(*kill).ok()
    assert not server.succeeds("ls /etc/cloudmesh")
    assert not worker.succeeds("ls /etc/cloudmesh")
