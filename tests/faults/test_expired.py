"""The certificates of a cluster have expired: what runs goes on, the cause is told, and `rotate` brings it back.

They are made to last for minutes, by the same code that makes those that last a year.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.cms import USER, Operator, environment
from support.hosts import HostCluster, make_unique_name, start_hosts

from cloudmesh.cluster.cluster import Cluster
from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon.debian_base import base_image

pytestmark = pytest.mark.cluster

LIFETIME = datetime.timedelta(minutes=5)  # a cluster is made and a job begun in less
JOB_SECONDS = 480
YEAR_DAYS = 365


@dataclass
class Aged(HostCluster):
    """A server and a worker whose certificates expire while a job runs."""

    SECONDS = 600

    folder: Path

    def submit(self, job_id: str, script: str, *options: str) -> str:
        """Run a job that is a shell script; return what it prints."""
        file = write_job_file(self.folder, image=base_image("13", report=Silence()), command=["sh", "-c", script])
        return self.cms("submit", f"--id={job_id}", *options, file).ok().stdout

    def read_days_left(self) -> list[float]:
        """Return in how many days the first certificate of each host expires."""
        nodes = self.cms("info", "--output=json").json()["nodes"]
        ends = (datetime.datetime.fromisoformat(node["expires"].replace("Z", "+00:00")) for node in nodes)
        return [(end.timestamp() - time.time()) / 86400 for end in ends]


@pytest.fixture(scope="module", params=PROVIDERS)
def aged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aged]:
    name, home = make_unique_name("expired"), tmp_path_factory.mktemp("home")
    with (
        start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 2) as group,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(os, "environ", environment(home))
        patch.setattr(certificates, "LIFETIME", LIFETIME)
        Cluster.create(
            name, group.where, provider=request.param, user=USER, key=str(group.key), accept_new_hostkeys=True
        )
        patch.undo()
        yield Aged(request.param, name, group, Operator(home, group.key), tmp_path_factory.mktemp("jobs"))


def test_what_has_expired_is_told_and_rotated_while_a_job_goes_on(aged: Aged) -> None:
    aged.submit("long", f"sleep {JOB_SECONDS}; echo $((6 * 7))", "--detach")
    left = max(aged.read_days_left())
    assert 0 < left < 1
    assert "expires in 0 days" in aged.cms("info").ok().stderr
    time.sleep(left * 86400 + 5)

    told = aged.cms("info").stderr
    assert told.count("has expired on") == 2
    assert f"`cms cluster rotate -n {aged.name}` makes new ones" in told

    aged.cms("rotate").ok()
    assert min(aged.read_days_left()) > YEAR_DAYS - 1
    assert aged.read_statuses() == dict.fromkeys(aged.group.where, "ready")
    assert aged.submit("after", "echo after") == "after\n"
    # Nothing has ended it, and what it says is not lost.
    assert aged.cms("logs", "--follow", "long", seconds=JOB_SECONDS + 60).ok().stdout == "42\n"
    assert aged.cms("jobs", "long", "--output=json").json()["state"] == "succeeded"
