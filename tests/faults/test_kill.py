"""Clusters taken apart that are not whole: begun, half installed, without an API, or by a kill that was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import MARKER, is_unpacking, packages, wait_for
from running import Ended, cms, started
from support.hosts import USER, Group, HandMade, group_name, hand_made

pytestmark = pytest.mark.cluster

NAME = "t-fhalf"


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with hand_made(group_name("fhalf"), tmp_path_factory.mktemp("key"), ["13"] * 2) as made:
        yield made


@pytest.fixture
def login(group: Group) -> tuple[str, ...]:
    return ("--user", USER, "--key", str(group.key), "--accept-new-hostkeys")


@pytest.fixture(scope="module")
def clean(group: Group) -> list[str]:
    """What the hosts are like at first."""
    return [state(host) for host in group.hosts]


def state(host: HandMade) -> str:
    """What is left of a cluster on a host, and its packages."""
    files = host.run(
        "find /etc/cloudmesh /opt/cloudmesh /var/lib/cloudmesh /run/cloudmesh* -mindepth 1 2>/dev/null || true"
    )
    processes = host.run("pgrep -l 'nomad|dockerd|containerd|docker-registry|apt-get|dpkg' || true")
    return "\n".join((packages(host), files, processes))


def test_a_cluster_that_was_only_begun_is_killed(
    group: Group, login: tuple[str, ...], clean: list[str], tmp_path: Path
) -> None:
    with started(tmp_path, "create", "-n", NAME, *login, *group.where) as running:
        wait_for(lambda: any(host.succeeds(f"test -e {MARKER}") for host in group.hosts))
        running.kill()
    kill(tmp_path, login).ok()
    assert [state(host) for host in group.hosts] == clean


def test_a_host_that_died_while_packages_were_unpacked_is_clean_after_the_kill(
    group: Group, login: tuple[str, ...], clean: list[str], tmp_path: Path
) -> None:
    victim = group.hosts[1]
    with started(tmp_path, "create", "-n", NAME, *login, *group.where) as running:
        wait_for(lambda: is_unpacking(victim))
        victim.container.kill()
        running.kill()
    victim.container.start()
    wait_for(lambda: victim.succeeds("systemctl is-active ssh"))
    kill(tmp_path, login).ok()
    assert [state(host) for host in group.hosts] == clean


def test_a_kill_without_an_api_that_is_cut_off_is_finished_by_the_same_command(
    group: Group, login: tuple[str, ...], clean: list[str], tmp_path: Path
) -> None:
    server, worker = group.hosts
    cms(tmp_path, "create", "-n", NAME, *login, *group.where).ok()
    server.run("systemctl stop cloudmesh-nomad")
    with started(tmp_path, "kill", "-n", NAME, "--yes", *login) as running:
        running.until("only the hosts that were found are cleaned", f"{worker.where}: remove")
        running.kill()
    kill(tmp_path, login).ok()
    assert [state(host) for host in group.hosts] == clean
    kill(tmp_path, login).failed(3, f"^no cluster called {NAME}")


def kill(home: Path, login: tuple[str, ...]) -> Ended:
    return cms(home, "kill", "-n", NAME, "--yes", *login, seconds=150)
