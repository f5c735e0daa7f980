"""Three servers get another version, and then other certificates, one after the other: jobs are always accepted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.cms import Operator, Outcome
from support.hosts import HostCluster, make_unique_name, start_hosts

from cloudmesh.cluster.binaries import provide
from cloudmesh.cluster.binaries.pinned import find_engine, pinned_versions
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon.debian_base import base_image

pytestmark = pytest.mark.cluster

PAUSE_SECONDS = 5
SUBMIT_SECONDS = 120  # that a job may take to be accepted while one of three servers starts anew


@dataclass
class Trio(HostCluster):
    """Three servers of the version before the one that new clusters get.

    Attributes:
        job: a job's file.
        submitted: how the submissions ended that were made while something else went on.
    """

    SECONDS = 1200

    job: str
    older: str
    submitted: list[Outcome] = field(default_factory=list)

    @contextmanager
    def submitting(self, purpose: str) -> Iterator[None]:
        """Submit a job again and again within the block."""
        is_over = threading.Event()

        def submit() -> None:
            while not is_over.wait(PAUSE_SECONDS):
                job_id = f"--id={purpose}-{len(self.submitted)}"
                self.submitted.append(self.cms("submit", "--detach", job_id, self.job, seconds=SUBMIT_SECONDS))

        thread = threading.Thread(target=submit)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def read_versions(self) -> set[tuple[str, str]]:
        return {(node["version"], node["status"]) for node in self.cms("info", "--output=json").ok().json()["nodes"]}


@pytest.fixture(scope="module", params=PROVIDERS)
def trio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    name, versions = make_unique_name("turn"), pinned_versions(request.param)
    older = versions[versions.index(find_engine(request.param).version) - 1]
    provide(request.param, version=older, report=Silence())  # built once, in the cache
    job = write_job_file(
        Path(tmp_path_factory.mktemp("job")), image=base_image("13", report=Silence()), command=["echo", "well"]
    )
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 3) as group:
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        trio = Trio(request.param, name, group, operator, job, older)
        trio.cms("create", "-p", request.param, "--servers=3", f"--engine-version={older}", *group.where).ok()
        trio.cms("submit", "--id=first", job).ok()
        yield trio


@pytest.mark.parametrize("verb", ["upgrade", "rotate"])
def test_jobs_are_accepted_all_the_time_and_none_is_lost(trio: Trio, verb: str) -> None:
    with trio.submitting(verb):
        trio.cms(verb, *(["--yes"] if verb == "upgrade" else [])).ok()
    assert [outcome.stderr for outcome in trio.submitted if outcome.status] == []
    assert len([job_id for outcome in trio.submitted if (job_id := outcome.stdout).startswith(verb)]) > 1
    assert trio.read_versions() == {(find_engine(trio.provider).version, "ready")}
    for outcome in trio.submitted:
        assert trio.cms("logs", "--follow", outcome.stdout.strip()).ok().stdout == "well\n"
