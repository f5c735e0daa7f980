"""Hosts die, fall silent or lose their link in the middle of a create."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import is_unpacking, local_cluster, wait_for
from support.hosts import HandMade

pytestmark = pytest.mark.cluster


def cut_links(host: HandMade) -> None:
    """End every SSH session of a host, as a firewall that resets connections does; its sshd stays."""
    host.run("pkill -KILL -f '^sshd-session: |^sshd: [^/]*@'")


def test_workers_that_are_lost_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    with local_cluster("flost", 3, tmp_path) as cluster:
        with cluster.creating() as running:
            running.until("-2: install", "-3: install")
            wait_for(lambda: is_unpacking(cluster.host(2)))
            cluster.host(2).container.kill()
            cut_links(cluster.host(3))
            ended = running.end(seconds=120)
        lost = [f"^{cluster.name}-{index}: the SSH connection was lost" for index in (2, 3)]
        assert len(ended.failed(1, *lost)) == len(lost)
        assert [(node["name"], node["status"]) for node in cluster.info()["nodes"]] == [(f"{cluster.name}-1", "ready")]
        with cluster.creating() as running:
            running.until("-2: install")
            cluster.host(2).container.pause()
            ended = running.end(seconds=120)
        assert len(ended.failed(1, f"^{cluster.name}-2: ")) == 1
        cluster.create().ok()
        cluster.is_whole()


def test_a_first_server_that_dies_is_named_in_bounded_time_and_comes_back_into_the_same_cluster(tmp_path: Path) -> None:
    with local_cluster("fserver", 2, tmp_path) as cluster:
        ids = set()
        for moment in ("-1: install", "-1: fetch nomad", "-2: start Nomad"):
            with cluster.creating() as running:
                running.until(moment)
                cluster.host(1).container.kill()
                ended = running.end(seconds=60)
            assert len(ended.failed(1, f"^{cluster.name}-1: ")) == 1
            cluster.host(1).container.start()
            ids |= cluster.ids()
        cluster.create().ok()
        cluster.is_whole()
        assert cluster.ids() == ids
