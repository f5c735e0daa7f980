"""The client is killed, interrupted, or run twice at once: one cluster comes of it, by the same command."""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from support.hosts import prepare_local_cluster
from support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.sample]


MOMENTS = {
    "nomad": ("-1: install", "engine: send nomad", "-1: bootstrap access control", "-2: fetch nomad"),
    "kubernetes": ("-1: install", "engine: send kubeadm", "-1: kubeadm init", "-2: kubeadm join"),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_client_killed_at_any_step_leaves_what_the_same_command_finishes(provider: str, tmp_path: Path) -> None:
    with prepare_local_cluster("fkill", 2, tmp_path) as cluster:
        ids = set()
        for moment in MOMENTS[provider]:
            with cluster.start_create("-p", provider) as running:
                running.wait_until_shown(moment)
                running.kill()
            ids |= cluster.read_ids()
        cluster.create("-p", provider).ok()
        cluster.check_whole()
        assert cluster.read_ids() == ids


def test_of_two_creates_at_once_one_wins_and_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with prepare_local_cluster("fint", 1, tmp_path) as cluster:
        with cluster.start_create() as first, cluster.start_create() as second:
            assert wait_until(lambda: first.has_ended or second.has_ended, 60, pause=0.05), "none of them ended"
            loser, winner = (first, second) if first.has_ended else (second, first)
            (error,) = loser.wait(seconds=1).expect_failure()
            winner.wait_until_shown("install")
            winner.interrupt()
            outcome = winner.wait(seconds=5)
        holder = re.escape(f"{getpass.getuser()}@{socket.gethostname()} for cluster {cluster.name}")
        since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        assert re.search(f"^{cluster.name}-1 is being changed by {holder} {since}", error)
        assert len(outcome.expect_failure(130, "interrupted")) == 1

        ids = cluster.read_ids()
        cluster.create().ok()
        cluster.check_whole()
        assert cluster.read_ids() == ids
