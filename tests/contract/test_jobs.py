"""What every provider promises of jobs; only the provider's name differs between the runs."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from support.waiting import wait_until

from contract.conftest import EXAMPLES, Cluster, run_on_all

pytestmark = pytest.mark.cluster

SLEEPER = """
import sys, time
from pyspark import SparkContext
with SparkContext() as spark:
    print("working", spark.range(10).sum(), flush=True)
    time.sleep(int(sys.argv[1]))
"""
# Whether the JVM of this process has the class data of the image, in the driver and in an executor.
CLASS_DATA = """
import pathlib
from pyspark.sql import SparkSession

def used(_=0):
    process = pathlib.Path("/proc/self")
    while (process / "comm").read_text() != "java\\n":
        process = process.parent / (process / "stat").read_text().rpartition(")")[2].split()[1]
    return "/opt/cloudmesh/spark.jsa\\n" in (process / "maps").read_text()

context = SparkSession.builder.getOrCreate().sparkContext
print(used(), *context.parallelize([0], 1).map(used).collect())
"""
# Programs that run for seconds are faster without the JVM's second compiler.
BRIEF = {f"spark.{part}.extraJavaOptions": "-XX:TieredStopAtLevel=1" for part in ("driver", "executor")}


def write(folder: Path, name: str, text: str) -> str:
    """Write a file and return its path."""
    path = folder / name
    path.write_text(text)
    return str(path)


def write_job_file(folder: Path, program: str, **spec: object) -> str:
    """Write a job file for a program, with a small driver and executor; return its path.

    Args:
        folder: of the file.
        program: Python source text.
        spec: fields that replace those of the file's spec, or are added to it.
    """
    (folder / "program.py").write_text(program)
    small = {"cores": 1, "memory": "512m"}
    parts = {"driver": small, "executor": {"instances": 1, **small}}
    fields = {"mainApplicationFile": "program.py", "sparkConf": BRIEF, **parts, **spec}
    job = {"apiVersion": "cms/v1", "kind": "SparkJob", "metadata": {"name": "case"}, "spec": fields}
    return write(folder, "job.yaml", json.dumps(job))


def read_job(cluster: Cluster, job_id: str) -> dict:
    """Return a job as `jobs` shows it in JSON."""
    return cluster.cms("jobs", job_id, "--output=json").json()


def count_running_tasks(cluster: Cluster, job_id: str) -> int:
    """Return how many tasks of a job run."""
    return [task["state"] for task in read_job(cluster, job_id)["tasks"]].count("running")


def test_the_cluster_is_listed_and_healthy(cluster):
    listed = cluster.operator.cms("list", "--output=json").json()
    assert {"name": cluster.name, "provider": cluster.provider} in listed
    info = cluster.cms("info", "--output=json").json()
    assert info["healthy"] is True
    assert [node["status"] for node in info["nodes"]] == ["ready"] * 3


def test_a_program_gets_its_arguments_as_they_are_and_its_output_is_all_of_stdout(cluster, tmp_path):
    program = "import sys, os\nprint(sys.argv[1:])\nprint(os.environ['CMS_JOB_DIR'])\n"
    given = ["${HOME}", "%{x}", "$HOME", "a b", "--flag", "é'\"\\"]
    outcome = cluster.cms("submit", write(tmp_path, "echo.py", program), "--", *given).ok()
    assert outcome.stdout == f"{given}\n/opt/cloudmesh/job\n"


def test_a_job_file_with_parameters_gives_the_answer_of_plain_python(cluster):
    outcome = cluster.cms("submit", "--param=top=1000000", "--param=slices=3", str(EXAMPLES / "wordcount.yaml")).ok()
    words = re.findall(r"[a-z]+(?:'[a-z]+)*", (EXAMPLES / "text" / "opticks.txt").read_text().lower())
    counted = dict(line.split("\t") for line in outcome.stdout.splitlines())
    assert counted.pop("TOTAL") == str(len(words))
    assert counted == {word: str(count) for word, count in Counter(words).items()}


def test_driver_and_executor_start_with_the_class_data_of_their_image(cluster, tmp_path):
    assert cluster.cms("submit", write_job_file(tmp_path, CLASS_DATA)).ok().stdout == "True True\n"


def test_a_failing_job_fails_the_command_and_tells_its_exit_code(cluster, tmp_path):
    outcome = cluster.cms("submit", "--id=failing", write(tmp_path, "fail.py", "raise SystemExit(7)"))
    assert outcome.status == 1
    assert outcome.stderr.splitlines()[-1] == "ERROR: job failing failed: exit code 7"
    job = read_job(cluster, "failing")
    assert (job["state"], job["exit_code"]) == ("failed", 7)


def test_a_failing_job_is_run_again_as_often_as_asked(cluster, tmp_path):
    program = "print('try', flush=True)\nraise SystemExit(3)"
    outcome = cluster.cms("submit", write_job_file(tmp_path, program, retries=1))
    assert outcome.status == 1
    assert "exit code 3" in outcome.stderr.splitlines()[-1]
    assert outcome.stdout == "try\ntry\n"


def test_a_job_that_takes_too_long_is_ended_and_says_so(cluster, tmp_path):
    outcome = cluster.cms("submit", write_job_file(tmp_path, "import time; time.sleep(600)", timeoutSeconds=8))
    assert outcome.status == 1
    assert "timeout" in outcome.stderr.splitlines()[-1]


def test_a_job_that_no_host_could_ever_run_is_refused_before_it_is_sent(cluster, tmp_path):
    huge = write_job_file(tmp_path, "print(1)", executor={"instances": 1, "cores": 64, "memory": "512m"})
    outcome = cluster.cms("submit", "--id=huge", huge)
    assert outcome.status == 1
    assert "64 cores" in outcome.stderr.splitlines()[-1]
    assert cluster.cms("jobs", "huge").status == 3


def test_a_detached_job_is_told_followed_and_stopped_and_leaves_nothing(cluster, tmp_path):
    job_id = cluster.cms("submit", "--detach", write_job_file(tmp_path, SLEEPER, arguments=["600"])).ok().stdout.strip()
    assert wait_until(lambda: "working 45" in cluster.cms("logs", job_id).ok().stdout, 240), (
        "never: the driver's first line"
    )
    running = read_job(cluster, job_id)
    assert running["state"] == "running"
    assert {task["state"] for task in running["tasks"]} == {"running"}
    cluster.cms("stop", job_id).ok()
    assert wait_until(lambda: read_job(cluster, job_id)["state"] == "stopped", 60), "never: the job is stopped"
    assert wait_until(lambda: not list_containers_of_jobs(cluster), 60), (
        "never: no container of a job is left on any host"
    )
    cluster.cms("stop", job_id).ok()


def test_the_same_id_and_content_again_is_the_same_job_and_another_content_is_refused(cluster, tmp_path):
    once = cluster.cms("submit", "--id=once", write(tmp_path, "once.py", "print('a')")).ok()
    again = cluster.cms("submit", "--id=once", str(tmp_path / "once.py")).ok()
    assert again.stdout == once.stdout == "a\n"
    assert [job["id"] for job in cluster.cms("jobs", "--output=json").json()].count("once") == 1
    other = cluster.cms("submit", "--id=once", write(tmp_path, "once.py", "print('b')"))
    assert other.status == 1
    assert "another content" in other.stderr


def test_a_job_that_waits_for_room_says_so_and_runs_when_there_is_some(cluster, tmp_path):
    hog = write_job_file(tmp_path, SLEEPER, arguments=["600"], executor={"instances": 5, "cores": 1, "memory": "512m"})
    first = cluster.cms("submit", "--detach", hog).ok().stdout.strip()
    assert wait_until(lambda: count_running_tasks(cluster, first) >= 6, 120), (
        "never: the first job's driver and executors run"
    )
    second = cluster.cms("submit", "--detach", write(tmp_path, "late.py", "print('at last')")).ok().stdout.strip()
    waiting = read_job(cluster, second)
    assert waiting["state"] == "queued"
    assert "room" in waiting["reason"]
    cluster.cms("stop", first).ok()
    assert wait_until(lambda: read_job(cluster, second)["state"] == "succeeded", 120), "never: the second job ran"
    assert cluster.cms("logs", second).ok().stdout == "at last\n"


def test_a_dry_run_sends_nothing_and_shows_the_job_without_its_secret(cluster, tmp_path):
    outcome = cluster.cms("submit", "--dryrun", "--id=dry", write(tmp_path, "dry.py", "print(1)")).ok()
    assert "cms-jobs/dry" in outcome.stdout
    assert json.loads(outcome.stdout)
    assert cluster.cms("jobs", "dry").status == 3


@pytest.mark.parametrize("verb", ["jobs", "logs", "stop"])
def test_an_unknown_job_is_not_found(cluster, verb):
    outcome = cluster.cms(verb, "no-such-job")
    assert outcome.status == 3
    assert outcome.stderr.count("ERROR") == 1


def list_containers_of_jobs(cluster: Cluster) -> list[str]:
    """Return the command lines of tasks that run on the cluster's hosts."""
    return [line for _, output in run_on_all(cluster, "pgrep -fa [s]upervise.py") for line in output.splitlines()]
