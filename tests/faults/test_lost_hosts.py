"""Hosts die, fall silent or lose their link in the middle of a create."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from support.cms import Operator
from support.hosts import MARKER, ContainerHost, make_unique_name, prepare_local_cluster, start_hosts
from support.waiting import wait_until

pytestmark = pytest.mark.cluster


def cut_links(host: ContainerHost) -> None:
    """End every SSH session of a host, as a firewall that resets connections does; its sshd stays."""
    host.run("pkill -KILL -f '^sshd-session: |^sshd: [^/]*@'")


def test_workers_that_are_lost_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    with prepare_local_cluster("flost", 3, tmp_path) as cluster:
        with cluster.start_create() as running:
            running.wait_until_shown("-2: install", "-3: install")
            assert wait_until(lambda: cluster.host(2).is_installing_packages(), 60, pause=0.05), "it installs nothing"
            cluster.host(2).container.kill()
            cut_links(cluster.host(3))
            outcome = running.wait(seconds=120)
        lost = [f"^{cluster.name}-{index}: the SSH connection was lost" for index in (2, 3)]
        assert len(outcome.expect_failure(1, *lost)) == len(lost)
        assert [(node["name"], node["status"]) for node in cluster.read_info()["nodes"]] == [
            (f"{cluster.name}-1", "ready")
        ]
        with cluster.start_create() as running:
            running.wait_until_shown("-2: install")
            cluster.host(2).container.pause()
            outcome = running.wait(seconds=120)
        assert len(outcome.expect_failure(1, f"^{cluster.name}-2: ")) == 1
        cluster.create().ok()
        cluster.check_whole()


def test_a_first_server_that_dies_is_named_in_bounded_time_and_comes_back_into_the_same_cluster(tmp_path: Path) -> None:
    with prepare_local_cluster("fserver", 2, tmp_path) as cluster:
        ids = set()
        for moment in ("-1: install", "-1: fetch nomad", "-2: start Nomad"):
            with cluster.start_create() as running:
                running.wait_until_shown(moment)
                cluster.host(1).container.kill()
                outcome = running.wait(seconds=60)
            assert len(outcome.expect_failure(1, f"^{cluster.name}-1: ")) == 1
            cluster.host(1).container.start()
            ids |= cluster.read_ids()
        cluster.create().ok()
        cluster.check_whole()
        assert cluster.read_ids() == ids


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_dead_host_that_was_removed_is_listed_and_to_remove_it_again_cleans_it_once_it_is_back(
    provider: str, tmp_path: Path
) -> None:
    name = make_unique_name("fdead")
    with start_hosts(f"{name}-h", tmp_path, ("13",) * 2) as group:
        server, worker = group.where
        operator = Operator(tmp_path / "home", group.key)
        operator.home.mkdir()
        operator.cms("create", "-n", name, "-p", provider, server, worker).ok()

        def read_statuses() -> dict[str, str]:
            return {
                node["name"]: node["status"]
                for node in operator.cms("info", "-n", name, "--output=json").json()["nodes"]
            }

        group.hosts[1].container.kill()
        assert wait_until(lambda: read_statuses()[worker] == "down", 120, pause=1), "never: it is down"
        operator.cms("remove", "-n", name, "--yes", worker).expect_failure(1, f"^{worker}: ")
        alone = {server: "ready"}  # once its name server runs there
        assert wait_until(lambda: read_statuses() == alone, 120, pause=1), "never: the other one is the cluster"
        group.start(group.hosts[1])
        group.hosts[1].run(f"test -e {MARKER}")
        operator.cms("remove", "-n", name, "--yes", worker).ok()
        group.hosts[1].run(f"test ! -e {MARKER}")
        operator.cms("remove", "-n", name, "--yes", worker).expect_failure(3, "is not a host of cluster")
