"""Three servers on a network that is not the default one, made by an operator whose sudo wants a password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from support.cms import USER, Operator, Outcome
from support.hosts import LABEL, PASSWORD, HostGroup, make_unique_name, start_hosts
from support.process_watch import show, watch_processes
from support.waiting import wait_until

from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local import container_config

pytestmark = pytest.mark.cluster

# how long the others wait before they give a server up, and as much again
DOWN_SECONDS = 120
DEVICE = "eth1"


@dataclass(frozen=True)
class Trio:
    """Three servers, and what was seen while they became a cluster.

    Attributes:
        inner: their addresses on the second network.
        planned: what `create --dryrun --interface=DEVICE` showed.
        shown: what `create` showed on its terminal.
        leaks: command lines and environments that had the password.
    """

    name: str
    group: HostGroup
    inner: tuple[str, ...]
    operator: Operator
    planned: Outcome
    shown: Outcome
    leaks: list[str]

    def read_nodes(self) -> dict[str, dict[str, Any]]:
        nodes = self.operator.cms("info", "-n", self.name, "--output=json").json()["nodes"]
        return {node["name"]: node for node in nodes}

    def read_statuses(self) -> dict[str, str]:
        return {name: node["status"] for name, node in self.read_nodes().items()}


@contextmanager
def join_second_network(group: HostGroup, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the CIDR of a network that all hosts are on as well, and their addresses there."""
    client = docker_client.connect()
    # the label by which the group's own network is removed too, should the test not get to the end
    network = client.networks.create(f"cloudmesh-{name}-inner", labels={LABEL: name, container_config.LABEL: name})
    try:
        for host in group.hosts:
            network.connect(host.container)
        network.reload()
        addresses = {
            container["Name"]: container["IPv4Address"].partition("/")[0]
            for container in network.attrs["Containers"].values()
        }
        yield network.attrs["IPAM"]["Config"][0]["Subnet"], tuple(addresses[host.name] for host in group.hosts)
    finally:
        for host in group.hosts:
            network.disconnect(host.container, force=True)
        network.remove()
        client.close()


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    name = make_unique_name("trio")
    prompt = f"{USER}@127.0.0.1:"
    with (
        start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 3, sudo_asks=True) as group,
        join_second_network(group, f"{name}-h") as (cidr, inner),
    ):
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        words = ("create", "-n", name, "--servers=3", *group.where)
        planned = operator.cms_on_terminal(prompt, PASSWORD, *words, f"--interface={DEVICE}", "--dryrun")
        with watch_processes() as watch:
            shown = operator.cms_on_terminal(prompt, PASSWORD, *words, f"--interface={cidr}").ok()
        assert watch.rounds > 20
        for host in group.hosts:
            host.allow_sudo()
        yield Trio(name, group, inner, operator, planned, shown, show(watch.arguments | watch.environments, PASSWORD))


def test_the_sudo_password_is_asked_for_once_where_it_is_the_same_and_not_shown(trio: Trio) -> None:
    assert trio.shown.stderr.count(f"sudo password of {USER}@") == 1
    assert PASSWORD not in trio.shown.stderr


def test_the_sudo_password_is_in_no_command_line_or_environment(trio: Trio) -> None:
    assert trio.leaks == []


def test_the_watch_for_the_password_would_see_it(trio: Trio) -> None:
    with watch_processes() as watch:
        trio.group.hosts[0].container.exec_run(["sleep", "0.5"], environment={"SEEN": "a-text-like-no-other"})
    assert len(show(watch.environments, "a-text-like-no-other")) == 1


def test_without_a_terminal_a_password_that_sudo_wants_is_the_error(trio: Trio) -> None:
    host = trio.group.hosts[1]
    host.run("mv /etc/sudoers.d/ops /root/ops; umask 227; echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/asks")
    try:
        outcome = trio.operator.cms("add", "-n", trio.name, f"--hosts={trio.group.where[0]}", host.where)
    finally:
        host.run("rm /etc/sudoers.d/asks; mv /root/ops /etc/sudoers.d/ops")
    assert outcome.status == 1
    assert f"{host.where}: sudo wants a password" in outcome.stderr


def test_the_hosts_of_a_network_device_are_planned_with_its_addresses(trio: Trio) -> None:
    assert trio.planned.status == 0
    for host, address in zip(trio.group.hosts, trio.inner, strict=True):
        assert f"{host.where}: would " in trio.planned.stderr
        assert f"at {address}" in trio.planned.stderr


def test_the_cluster_talks_over_the_network_that_was_chosen(trio: Trio) -> None:
    nodes = trio.read_nodes()
    assert {name: node["address"] for name, node in nodes.items()} == dict(
        zip(trio.group.where, trio.inner, strict=True)
    )
    for host, address in zip(trio.group.hosts, trio.inner, strict=True):
        listening = host.run("ss -Hltn | awk '{ print $4 }' | grep -E ':(464[678]|5443)$' | sort").split()
        assert listening == sorted(["127.0.0.1:4646", *(f"{address}:{port}" for port in (4647, 4648, 5443))])
        peers = host.run("ss -Htn state established | awk '{ print $4 }' | grep ':464[78]$' | sed 's/:.*//' | sort -u")
        assert set(peers.split()) <= set(trio.inner)
        assert peers


def test_all_three_are_servers_and_take_jobs(trio: Trio) -> None:
    assert [node["roles"] for node in trio.read_nodes().values()] == [["server", "worker"]] * 3


def test_with_one_server_down_the_others_answer_and_kill_does_the_rest(trio: Trio) -> None:
    dead, *living = trio.group.hosts
    dead.container.kill()
    expected = {dead.where: "down", **{host.where: "ready" for host in living}}
    # while the others choose a leader, the engine says nothing of its hosts
    statuses = wait_until(trio.read_statuses, DOWN_SECONDS, pause=1, satisfies=lambda statuses: statuses == expected)
    assert statuses == expected

    outcome = trio.operator.cms("kill", "-n", trio.name)
    assert outcome.status == 1
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR")]
    assert dead.where in line
    for host in living:
        assert not host.succeeds("ls -d /etc/cloudmesh /opt/cloudmesh || pgrep nomad")
