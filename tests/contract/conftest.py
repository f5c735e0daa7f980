"""One cluster of three local hosts for each provider, shared by all cases that leave it as it was."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from support.cms import Operator, Outcome
from support.hosts import executed, group_name

from cloudmesh.cluster.hosts.local.container_config import LABEL

# `make test-kubernetes` leaves one out.
PROVIDERS = tuple(os.environ.get("TEST_PROVIDERS", "nomad,kubernetes").split(","))
EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and who runs it."""

    name: str
    provider: str
    operator: Operator

    def cms(self, verb: str, *words: str) -> Outcome:
        """Run `cms cluster VERB -n NAME WORDS`."""
        return self.operator.cms(verb, "-n", self.name, *words)


@pytest.fixture(scope="package", params=PROVIDERS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield the cluster of a provider."""
    made = Cluster(group_name("contract"), request.param, Operator(tmp_path_factory.mktemp("home")))
    try:
        made.cms("create", "-p", made.provider, "--nodes=3", "--images=spark").ok()
        yield made
    finally:
        made.cms("kill", "--yes").ok()


def hosts(cluster: Cluster) -> list:
    """Return the containers that stand for the cluster's hosts."""
    client = docker.from_env()
    try:
        return client.containers.list(filters={"label": f"{LABEL}={cluster.name}"})
    finally:
        client.close()


def on_all(cluster: Cluster, script: str) -> list[tuple[int, str]]:
    """Run a script on every host; return status and output of each."""
    answers = (executed(host, script) for host in hosts(cluster))
    return [(status, out + err) for status, out, err in answers]
