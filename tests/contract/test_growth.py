"""What every provider promises of clusters that change while jobs run; on hosts that somebody else started."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support.cms import Operator, Outcome
from support.hosts import Group, group_name, hand_made

from contract.conftest import PROVIDERS
from contract.test_jobs import SLEEPER, job, job_file, until

pytestmark = pytest.mark.cluster

COUNTER = """
import time
from pyspark import SparkContext

def slowly(number):
    time.sleep(2)
    return number

with SparkContext() as spark:
    print("begun", flush=True)
    print("sum", spark.range(60, numSlices=60).map(slowly).sum(), flush=True)
"""


@dataclass(frozen=True)
class Growing:
    """A cluster of the first two of three hosts, to begin with."""

    name: str
    provider: str
    operator: Operator
    group: Group

    def cms(self, verb: str, *words: str) -> Outcome:
        """Run `cms cluster VERB -n NAME WORDS`, told of the first host alone."""
        return self.operator.cms(verb, "-n", self.name, f"--hosts={self.group.where[0]}", *words)


@pytest.fixture(scope="module", params=PROVIDERS)
def growing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Growing]:
    """Yield the cluster; its hosts are gone afterwards."""
    name = group_name("grow")
    with hand_made(f"{name}-h", tmp_path_factory.mktemp("key"), ["13", "13", "13"]) as group:
        made = Growing(name, request.param, Operator(tmp_path_factory.mktemp("home"), group.key), group)
        made.cms("create", "-p", made.provider, "--images=spark", *group.where[:2]).ok()
        yield made


def test_a_host_joins_while_a_job_runs_and_the_job_does_not_notice(growing, tmp_path):
    program = job_file(tmp_path, SLEEPER, arguments=["30"])
    job_id = growing.cms("submit", "--detach", program).ok().stdout.strip()
    until(lambda: "working 45" in growing.cms("logs", job_id).ok().stdout, 240, "the driver works")
    growing.cms("add", growing.group.where[2]).ok()
    until(lambda: job(growing, job_id)["state"] != "running", 120, "the job ends")
    ended = job(growing, job_id)
    assert (ended["state"], ended["exit_code"]) == ("succeeded", 0)
    assert len([task for task in ended["tasks"] if task["name"].startswith("driver")]) == 1
    assert [node["status"] for node in growing.cms("info", "--output=json").json()["nodes"]] == ["ready"] * 3


def test_a_host_leaves_while_a_job_runs_on_it_and_the_answer_is_right(growing, tmp_path):
    four = {"instances": 4, "cores": 1, "memory": "512m"}
    job_id = growing.cms("submit", "--detach", job_file(tmp_path, COUNTER, executor=four)).ok().stdout.strip()
    until(lambda: "begun" in growing.cms("logs", job_id).ok().stdout, 240, "the driver works")
    driver = next(task["host"] for task in job(growing, job_id)["tasks"] if task["name"] == "driver")
    leaver = next(where for where in growing.group.where[1:] if where != driver)
    growing.cms("remove", "--yes", leaver).ok()
    assert leaver not in [node["name"] for node in growing.cms("info", "--output=json").json()["nodes"]]
    until(lambda: job(growing, job_id)["state"] != "running", 240, "the job ends")
    assert job(growing, job_id)["state"] == "succeeded"
    assert f"sum {sum(range(60))}\n" in growing.cms("logs", job_id).ok().stdout
