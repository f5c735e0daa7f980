"""One cluster of three local hosts for each provider, shared by all cases that leave it as it was."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cms import Operator, Outcome
from support.hosts import group_name

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


@pytest.fixture(scope="session", params=PROVIDERS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield the cluster of a provider."""
    made = Cluster(group_name("contract"), request.param, Operator(tmp_path_factory.mktemp("home")))
    try:
        made.cms("create", "-p", made.provider, "--nodes=3", "--images=spark").ok()
        yield made
    finally:
        made.cms("kill", "--yes").ok()
