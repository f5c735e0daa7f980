"""A cluster of three local hosts for each provider, shared by all cases that leave it as it was."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from support.cms import Operator, Outcome
from support.hosts import execute, make_unique_name

from cloudmesh.cluster.hosts.local.container_config import LABEL

# `make test-kubernetes` leaves Nomad out.
PROVIDERS = tuple(os.environ.get("TEST_PROVIDERS", "nomad,kubernetes").split(","))
EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and the operator who created it."""

    name: str
    provider: str
    operator: Operator

    def cms(self, verb: str, *words: str, seconds: float | None = None) -> Outcome:
        """Run `cms cluster VERB -n NAME WORDS`; see `Operator.cms`."""
        return self.operator.cms(verb, "-n", self.name, *words, seconds=seconds)


@pytest.fixture(scope="package", params=PROVIDERS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield the cluster of a provider."""
    cluster = Cluster(make_unique_name("contract"), request.param, Operator(tmp_path_factory.mktemp("home")))
    try:
        cluster.cms("create", "-p", cluster.provider, "--nodes=3", "--images=spark").ok()
        yield cluster
    finally:
        cluster.cms("kill", "--yes").ok()


def list_containers(cluster: Cluster) -> list:
    """Return the containers that stand for the cluster's hosts."""
    client = docker.from_env()
    try:
        return client.containers.list(filters={"label": f"{LABEL}={cluster.name}"})
    finally:
        client.close()


def run_on_all(cluster: Cluster, script: str) -> list[tuple[int, str]]:
    """Run a shell script on every host; return exit status and output, host by host."""
    answers = (execute(host, script) for host in list_containers(cluster))
    return [(status, out + err) for status, out, err in answers]
