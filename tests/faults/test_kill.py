"""Clusters taken apart that are not whole: begun, half installed, without an API, or by a kill that was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cms import Operator, Outcome
from support.hosts import MARKER, ContainerHost, HostGroup, make_unique_name, start_hosts
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

NAME = "t-fhalf"


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostGroup]:
    with start_hosts(make_unique_name("fhalf"), tmp_path_factory.mktemp("key"), ["13"] * 2) as group:
        yield group


@pytest.fixture
def operator(group: HostGroup, tmp_path: Path) -> Operator:
    return Operator(tmp_path, group.key, timeout=180)


@pytest.fixture(scope="module")
def clean(group: HostGroup) -> list[str]:
    """Return the states of the hosts before the first cluster."""
    return [read_state(host) for host in group.hosts]


def read_state(host: ContainerHost) -> str:
    """Return the packages of a host, and what is left of a cluster on it."""
    files = host.run(
        "find /etc/cloudmesh /opt/cloudmesh /var/lib/cloudmesh /run/cloudmesh* -mindepth 1 2>/dev/null || true"
    )
    processes = host.run("pgrep -l 'nomad|dockerd|containerd|docker-registry|apt-get|dpkg' || true")
    return "\n".join((host.list_packages(), files, processes))


def test_a_cluster_that_was_only_begun_is_killed(group: HostGroup, operator: Operator, clean: list[str]) -> None:
    with operator.start("create", "-n", NAME, *group.where) as running:
        is_begun = wait_until(lambda: any(host.succeeds(f"test -e {MARKER}") for host in group.hosts), 60, pause=0.05)
        assert is_begun, "no host has a marker"
        running.kill()
    kill(operator).ok()
    assert [read_state(host) for host in group.hosts] == clean


def test_a_host_that_died_while_packages_were_unpacked_is_clean_after_the_kill(
    group: HostGroup, operator: Operator, clean: list[str]
) -> None:
    victim = group.hosts[1]
    with operator.start("create", "-n", NAME, *group.where) as running:
        assert wait_until(victim.is_installing_packages, 60, pause=0.05), "it installs nothing"
        victim.container.kill()
        running.kill()
    victim.container.start()
    assert wait_until(lambda: victim.succeeds("systemctl is-active ssh"), 60, pause=0.05), "it has no sshd"
    kill(operator).ok()
    assert [read_state(host) for host in group.hosts] == clean


def test_a_kill_without_an_api_that_is_cut_off_is_finished_by_the_same_command(
    group: HostGroup, operator: Operator, clean: list[str]
) -> None:
    server, worker = group.hosts
    operator.cms("create", "-n", NAME, *group.where).ok()
    server.run("systemctl stop cloudmesh-nomad")
    with operator.start("kill", "-n", NAME, "--yes") as running:
        running.wait_until_shown("only the hosts that were found are cleaned", f"{worker.where}: remove")
        running.kill()
    kill(operator).ok()
    assert [read_state(host) for host in group.hosts] == clean
    kill(operator).expect_failure(3, f"^no cluster called {NAME}")


def kill(operator: Operator) -> Outcome:
    return operator.cms("kill", "-n", NAME, "--yes", seconds=150)
