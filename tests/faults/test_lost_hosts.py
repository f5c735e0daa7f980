"""Hosts die, fall silent or lose their link in the middle of a create."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hosts import ContainerHost, prepare_local_cluster
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
