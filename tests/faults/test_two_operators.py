"""Two operators, or a hundred, want the same at once: one acts, and the others are told."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.cms import Operator
from support.hosts import HostCluster, make_unique_name, start_hosts

pytestmark = pytest.mark.cluster

AT_ONCE = 100
REFUSED_SECONDS = 30


@pytest.fixture(scope="module", params=PROVIDERS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostCluster]:
    """Yield a cluster of the first of two hosts; the second one comes and goes."""
    name = make_unique_name("two")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 2) as group:
        pair = HostCluster(request.param, name, group, Operator(tmp_path_factory.mktemp("home"), group.key))
        pair.cms("create", "-p", pair.provider, "--images=cloudmesh", group.where[0]).ok()
        yield pair


def test_an_id_that_a_hundred_submit_at_once_with_the_same_content_is_one_job(
    pair: HostCluster, tmp_path: Path
) -> None:
    file = write_job_file(tmp_path, image="cloudmesh", command=["sh", "-c", "echo once; sleep 3"])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda _: pair.cms("submit", "--id=once", str(file)), range(AT_ONCE)))
    assert {outcome.ok().stdout for outcome in outcomes} == {"once\n"}
    assert [job["id"] for job in pair.cms("jobs", "--output=json").json()] == ["once"]
    submitted = [outcome for outcome in outcomes if "once submitted" in outcome.stderr]
    assert 0 < len(submitted) < AT_ONCE / 2, len(submitted)
    assert all("once already submitted" in outcome.stderr for outcome in outcomes if outcome not in submitted)


def test_while_one_operator_changes_the_cluster_another_is_told_who_it_is(pair: HostCluster) -> None:
    _, guest = pair.group.where
    holder = re.escape(f"{getpass.getuser()}@{socket.gethostname()} for cluster {pair.name}")
    join, leave, end = ("add", guest), ("remove", "--yes", guest), ("kill", "--yes")
    # What is begun, the phase in which others come, and what they want, as far as it applies then.
    for begun, phase, wanted in (
        (join, "preflight", (join, end)),
        (leave, "drain", (leave, end)),
        (end, "clean", (join, end)),
    ):
        verb, *words = begun
        with pair.operator.start(verb, "-n", pair.name, *words) as running:
            running.wait_until_shown(f"{pair.name}: {phase}")
            with ThreadPoolExecutor() as pool:  # at once, so that it still goes on when the last one comes
                outcomes = list(pool.map(lambda other: pair.cms(*other, seconds=REFUSED_SECONDS), wanted))
            for outcome in outcomes:
                outcome.expect_failure(1, f"is being changed by {holder} since ")
            running.wait(seconds=400).ok()
