"""What every provider promises of clusters that change while jobs run; on hosts that somebody else started."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support.cms import Operator, Outcome
from support.hosts import HostGroup, make_unique_name, start_hosts
from support.waiting import wait_until

from contract import test_containers as containers
from contract.conftest import PROVIDERS
from contract.test_jobs import SLEEPER, read_job, write_job_file

pytestmark = pytest.mark.cluster

LEAVES_OUTPUT = """
import os
name = os.environ["CMS_TASK"]
open(os.environ["CMS_RESULTS"] + "/out", "w").write(name)
print("printed by", name)
"""
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
    """A cluster that begins with the first two of three hosts."""

    name: str
    provider: str
    operator: Operator
    group: HostGroup

    def cms(self, verb: str, *words: str) -> Outcome:
        """Run `cms cluster VERB -n NAME --hosts=HOST WORDS`, where HOST is the first."""
        return self.operator.cms(verb, "-n", self.name, f"--hosts={self.group.where[0]}", *words)


@pytest.fixture(scope="module", params=PROVIDERS)
def growing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Growing]:
    """Yield the cluster; its hosts are gone afterwards."""
    name = make_unique_name("grow")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ["13", "13", "13"]) as group:
        cluster = Growing(name, request.param, Operator(tmp_path_factory.mktemp("home"), group.key), group)
        cluster.cms("create", "-p", cluster.provider, "--images=spark", *group.where[:2]).ok()
        yield cluster


def test_a_host_joins_while_a_job_runs_and_the_job_does_not_notice(growing, tmp_path):
    program = write_job_file(tmp_path, SLEEPER, arguments=["30"])
    job_id = growing.cms("submit", "--detach", program).ok().stdout.strip()
    assert wait_until(lambda: "working 45" in growing.cms("logs", job_id).ok().stdout, 240), "never: the driver works"
    growing.cms("add", growing.group.where[2]).ok()
    assert wait_until(lambda: read_job(growing, job_id)["state"] != "running", 120), "never: the job ends"
    ended = read_job(growing, job_id)
    assert (ended["state"], ended["exit_code"]) == ("succeeded", 0)
    assert len([task for task in ended["tasks"] if task["name"].startswith("driver")]) == 1
    assert [node["status"] for node in growing.cms("info", "--output=json").json()["nodes"]] == ["ready"] * 3


def test_a_host_leaves_while_a_job_runs_on_it_and_the_answer_is_right(growing, tmp_path):
    four = {"instances": 4, "cores": 1, "memory": "512m"}
    job_id = growing.cms("submit", "--detach", write_job_file(tmp_path, COUNTER, executor=four)).ok().stdout.strip()
    assert wait_until(lambda: "begun" in growing.cms("logs", job_id).ok().stdout, 240), "never: the driver works"
    driver = next(task["host"] for task in read_job(growing, job_id)["tasks"] if task["name"] == "driver")
    leaver = next(where for where in growing.group.where[1:] if where != driver)
    growing.cms("remove", "--yes", leaver).ok()
    assert leaver not in [node["name"] for node in growing.cms("info", "--output=json").json()["nodes"]]
    assert wait_until(lambda: read_job(growing, job_id)["state"] != "running", 240), "never: the job ends"
    assert read_job(growing, job_id)["state"] == "succeeded"
    assert f"sum {sum(range(60))}\n" in growing.cms("logs", job_id).ok().stdout


def test_what_jobs_have_printed_and_written_on_a_host_that_leaves_moves_to_a_server(growing, tmp_path):
    described = {"image": "spark", "count": 3, "command": ["python3", "-c", LEAVES_OUTPUT]}
    file = containers.write_job_file(tmp_path, resources={"cores": 1, "memory": "64m"}, **described)
    growing.cms("submit", "--id=three", file).ok()
    hosts = {task["name"]: task["host"] for task in read_job(growing, "three")["tasks"]}
    server = growing.group.where[0]
    leaver = next(host for host in hosts.values() if host != server)
    outcome = growing.cms("remove", "--yes", leaver).ok()
    assert f"{leaver}: output and results that these jobs have there move to {server}: " in outcome.stderr
    printed = growing.cms("logs", "three").ok().stdout.splitlines()
    assert sorted(printed) == [f"printed by {task}" for task in sorted(hosts)]
    growing.cms("get", "three", str(tmp_path / "results")).ok()
    written = {path.parent.name: path.read_text() for path in (tmp_path / "results").rglob("out")}
    assert written == {task: task for task in hosts}
