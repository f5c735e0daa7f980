"""The client is killed, interrupted, or run twice at once: one cluster comes of it, by the same command."""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from machines import local_cluster, wait_for

pytestmark = pytest.mark.cluster


MOMENTS = {
    "nomad": ("-1: install", "engine: send nomad", "-1: bootstrap access control", "-2: fetch nomad"),
    "kubernetes": ("-1: install", "engine: send kubeadm", "-1: kubeadm init", "-2: kubeadm join"),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_client_killed_at_any_step_leaves_what_the_same_command_finishes(provider: str, tmp_path: Path) -> None:
    with local_cluster("fkill", 2, tmp_path) as cluster:
        ids = set()
        for moment in MOMENTS[provider]:
            with cluster.creating("-p", provider) as running:
                running.until(moment)
                running.kill()
            ids |= cluster.ids()
        cluster.create("-p", provider).ok()
        cluster.is_whole()
        assert cluster.ids() == ids


def test_of_two_creates_at_once_one_wins_and_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with local_cluster("fint", 1, tmp_path) as cluster:
        with cluster.creating() as first, cluster.creating() as second:
            wait_for(lambda: first.has_ended or second.has_ended)
            loser, winner = (first, second) if first.has_ended else (second, first)
            (error,) = loser.end(seconds=1).failed()
            winner.until("install")
            winner.interrupt()
            ended = winner.end(seconds=5)
        holder = re.escape(f"{getpass.getuser()}@{socket.gethostname()} for cluster {cluster.name}")
        since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        assert re.search(f"^{cluster.name}-1 is being changed by {holder} {since}", error)
        assert len(ended.failed(130, "interrupted")) == 1

        begun = cluster.ids()
        cluster.create().ok()
        cluster.is_whole()
        assert cluster.ids() == begun
