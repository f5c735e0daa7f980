"""Members of a cluster that are dead, only answer TCP, or have no room: the others are done in bounded time."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from support.cms import Operator
from support.hosts import ContainerHost, HostCluster, make_unique_name, start_hosts
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

INFO_SECONDS, ADD_SECONDS, KILL_SECONDS = 30, 200, 120
NOTICED_SECONDS = 90  # until an engine calls nobody ready who is not there


def fill(host: ContainerHost) -> None:
    """Leave no room where a cluster writes while it is taken apart, and where scripts are put."""
    for folder in ("/tmp", "/run/cloudmesh-full", "/var/tmp"):
        host.run(f"mkdir -p {folder}; mount -t tmpfs -o size=16k none {folder}; cat /dev/zero >{folder}/full || true")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_members_that_are_dead_silent_or_without_room_are_told_apart_and_the_others_are_done(
    provider: str, tmp_path: Path
) -> None:
    name = make_unique_name("badm")
    with start_hosts(f"{name}-h", tmp_path, ("13",) * 5) as group:
        (tmp_path / "home").mkdir()
        cluster = HostCluster(provider, name, group, Operator(tmp_path / "home", group.key))
        server, dead, silent, full, newcomer = group.hosts
        cluster.cms("create", "-p", provider, *group.where[:4]).ok()
        dead.container.kill()
        silent.container.pause()
        fill(full)
        lost = {dead.where, silent.where}
        ready = wait_until(lambda: _list_ready(cluster), NOTICED_SECONDS, satisfies=lambda names: not names & lost)
        assert ready == {server.where, full.where}
        cluster.cms("add", newcomer.where, seconds=ADD_SECONDS).ok()
        outcome = cluster.cms("kill", "--yes", seconds=KILL_SECONDS)
        outcome.expect_failure(1, f"^{dead.where}: ", f"^{silent.where}: ")
        for host in (server, full, newcomer):
            assert not host.succeeds("ls -d /etc/cloudmesh /opt/cloudmesh"), (host.where, outcome.stderr)
        silent.container.unpause()
        group.start(dead)
        cluster.cms("kill", "--yes", seconds=KILL_SECONDS).ok()
        for host in (dead, silent):
            assert not host.succeeds("ls -d /etc/cloudmesh /opt/cloudmesh"), host.where


def _list_ready(cluster: HostCluster) -> set[str]:
    """Return the hosts that the engine calls ready."""
    info = cluster.cms("info", "--output=json", seconds=INFO_SECONDS).json()
    return {node["name"] for node in info["nodes"] if node["status"] == "ready"}
