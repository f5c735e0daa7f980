"""What every provider promises of jobs of any image, their secrets, and sweeps."""

import csv
import hashlib
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloudmesh.cluster.command.console.progress import Progress
from cloudmesh.cluster.docker_daemon import debian_base
from cloudmesh.cluster.images import catalog
from contract.conftest import Cluster
from contract.test_jobs import read_job, write

pytestmark = pytest.mark.cluster

SECRET = "a secret that stands nowhere"  # noqa: S105
SMALL = {"cores": 1, "memory": "64m"}
TASK = """
import hashlib, os, sys
word = os.environ.get("SECRET_WORD", "")
assert word not in " ".join(sys.argv)
print(os.environ["CMS_TASK"], os.environ["CMS_TASK_COUNT"], hashlib.sha256(word.encode()).hexdigest()[:8], flush=True)
sys.exit(7 if os.environ["CMS_TASK_INDEX"] == sys.argv[1] else 0)
"""
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()[:8]


def write_job_file(folder: Path, *, params: object = None, **spec: object) -> str:
    """Write a job file of kind ContainerJob; return its path."""
    fields = {"image": "spark", "resources": SMALL, **spec}
    job = {"apiVersion": "cms/v1", "kind": "ContainerJob", "metadata": {"name": "case"}, "spec": fields}
    return write(folder, "job.yaml", json.dumps({**job, "params": params or {}}))


def write_three_tasks(folder: Path) -> str:
    """Write a job file of three tasks with a secret; the task whose index is the parameter `bad` fails."""
    write(folder, "task.py", TASK)
    return write_job_file(
        folder,
        params={"bad": {"type": "int", "default": 9}},
        command=["python3", "/opt/cloudmesh/job/task.py"],
        arguments=["${params.bad}"],
        files=["task.py"],
        count=3,
        secrets=[{"name": "word", "env": ["SECRET_WORD"]}],
    )


def write_sweep(folder: Path) -> str:
    """Write a job file of a job whose exit code is a parameter."""
    program = "import sys; print(*sys.argv[1:]); sys.exit(int(sys.argv[1]))"
    return write_job_file(
        folder,
        params={"code": {"type": "int", "required": True}, "word": {"default": "x"}},
        command=["python3", "-c", program],
        arguments=["${params.code}", "${params.word}"],
    )


def write_secrets(folder: Path) -> str:
    """Write a file with the secret's value; return the option that names it."""
    path = write(folder, "keys.env", f"SECRET_WORD={SECRET}\n")
    Path(path).chmod(0o600)
    return f"--secrets={path}"


def test_all_tasks_of_a_job_print_and_get_its_secret(cluster: Cluster, tmp_path: Path) -> None:
    outcome = cluster.cms("submit", "--id=three", write_secrets(tmp_path), write_three_tasks(tmp_path)).ok()
    assert sorted(outcome.stdout.splitlines()) == [f"task-{index} 3 {DIGEST}" for index in range(3)]
    job = read_job(cluster, "three")
    assert (job["state"], job["exit_code"]) == ("succeeded", 0)
    assert [task["name"] for task in job["tasks"]] == ["task-0", "task-1", "task-2"]
    assert set(job["hosts"]) == {task["host"] for task in job["tasks"]}


def test_of_two_submits_of_one_id_with_different_secrets_one_runs_with_its_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    words = {"red": "", "blue": ""}
    for word in words:
        (tmp_path / word).mkdir()
        keys = write(tmp_path / word, "keys.env", f"SECRET_WORD={word}\n")
        Path(keys).chmod(0o600)
        words[word] = f"--secrets={keys}"
    file = write_three_tasks(tmp_path)
    with ExitStack() as stack:
        start = cluster.operator.start
        running = {
            word: stack.enter_context(start("submit", "-n", cluster.name, "--id=rivals", option, file))
            for word, option in words.items()
        }
        outcomes = {word: command.wait(120) for word, command in running.items()}
    winner, loser = sorted(outcomes, key=lambda word: outcomes[word].status)
    digest = hashlib.sha256(winner.encode()).hexdigest()[:8]
    assert sorted(outcomes[winner].ok().stdout.splitlines()) == [f"task-{index} 3 {digest}" for index in range(3)]
    outcomes[loser].expect_failure(1, "job rivals exists with other values of its secrets: choose another --id")


def test_a_job_fails_with_the_exit_code_of_the_task_that_failed(cluster: Cluster, tmp_path: Path) -> None:
    outcome = cluster.cms(
        "submit", "--id=one-bad", "--param=bad=1", write_secrets(tmp_path), write_three_tasks(tmp_path)
    )
    assert outcome.status == 1
    assert "exit code 7" in outcome.stderr.splitlines()[-1]
    job = read_job(cluster, "one-bad")
    assert (job["state"], job["exit_code"]) == ("failed", 7)
    assert "exit code 7" in job["reason"]


def test_a_secret_stands_in_nothing_that_is_shown(cluster: Cluster, tmp_path: Path) -> None:
    file = write_three_tasks(tmp_path)
    dry = cluster.cms("submit", "--dryrun", "--id=hush", write_secrets(tmp_path), file).ok()
    run = cluster.cms("submit", "--id=hush", write_secrets(tmp_path), file).ok()
    shown = [cluster.cms(*words).ok() for words in (["jobs", "--output=json"], ["jobs", "hush"], ["logs", "hush"])]
    for outcome in (dry, run, *shown):
        assert SECRET not in outcome.stdout + outcome.stderr
    assert "SECRET_WORD" in dry.stdout


def test_a_secret_without_a_value_is_named_and_nothing_is_sent(cluster: Cluster, tmp_path: Path) -> None:
    outcome = cluster.cms("submit", "--id=mute", write_three_tasks(tmp_path))
    assert outcome.status == 2
    assert "spec.secrets[0].env[0]: SECRET_WORD of secret word has no value" in outcome.stderr
    assert cluster.cms("jobs", "mute").status == 3
    assert (
        json.loads(cluster.cms("submit", "--dryrun", write_three_tasks(tmp_path)).ok().stdout)["job"]["kind"]
        == "ContainerJob"
    )


def test_an_image_of_this_machines_engine_runs_in_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    image = debian_base.base_image(catalog.RELEASE, report=Progress(terminal=False))
    file = write_job_file(tmp_path, image=image, command=["cat", "/etc/debian_version"])
    assert cluster.cms("submit", file).ok().stdout.startswith(catalog.RELEASE)


def test_a_job_whose_image_is_not_there_fails_and_says_so(cluster: Cluster, tmp_path: Path) -> None:
    registry = cluster.cms("info", "--output=json").json()["registry"]
    outcome = cluster.cms("submit", write_job_file(tmp_path, image=f"{registry}/no/such:1", command=["true"]))
    assert outcome.status == 1
    assert f"image {registry}/no/such:1 could not be pulled: " in outcome.stderr.splitlines()[-1]


def test_a_job_that_takes_too_long_is_ended_and_says_so(cluster: Cluster, tmp_path: Path) -> None:
    outcome = cluster.cms("submit", write_job_file(tmp_path, command=["sleep", "600"], timeoutSeconds=8))
    assert outcome.status == 1
    assert "timeout" in outcome.stderr.splitlines()[-1]


def test_tasks_that_could_never_all_run_are_refused_before_they_are_sent(cluster: Cluster, tmp_path: Path) -> None:
    outcome = cluster.cms("submit", "--id=many", write_job_file(tmp_path, command=["true"], count=1000))
    assert outcome.status == 1
    assert "1000 tasks of 1 cores and 64 MiB: the hosts have room for" in outcome.stderr.splitlines()[-1]
    assert cluster.cms("jobs", "many").status == 3


def test_a_sweep_is_told_in_one_table_and_fails_with_one_of_its_jobs(cluster: Cluster, tmp_path: Path) -> None:
    words = ("--sweep", "--id=swept", "--param=code=0,3", "--param=word=a,b", "--output=csv", write_sweep(tmp_path))
    outcome = cluster.cms("submit", *words)
    assert outcome.status == 1
    assert outcome.stderr.splitlines()[-1] == "ERROR: 2 of 4 jobs did not succeed: swept-3, swept-4"
    rows = list(csv.DictReader(outcome.stdout.splitlines()))
    assert [(row["id"], row["code"], row["word"], row["state"], row["exit_code"]) for row in rows] == [
        ("swept-1", "0", "a", "succeeded", "0"),
        ("swept-2", "0", "b", "succeeded", "0"),
        ("swept-3", "3", "a", "failed", "3"),
        ("swept-4", "3", "b", "failed", "3"),
    ]
    assert cluster.cms("logs", "swept-2").ok().stdout == "0 b\n"


def test_a_sweep_can_be_left_to_itself_and_shown_beforehand(cluster: Cluster, tmp_path: Path) -> None:
    file = write_sweep(tmp_path)
    shown = cluster.cms("submit", "--sweep", "--id=dry", "--dryrun", "--param=code=0,1", file).json()
    assert [(job["id"], job["job"]["spec"]["arguments"][0]) for job in shown] == [("dry-1", "0"), ("dry-2", "1")]
    assert cluster.cms("jobs", "dry-1").status == 3
    outcome = cluster.cms("submit", "--sweep", "--id=left", "--detach", "--param=code=0,1", file).ok()
    assert outcome.stdout == "left-1\nleft-2\n"
