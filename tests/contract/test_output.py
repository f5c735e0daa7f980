"""What every provider promises of what jobs print, and of how their programs ended."""

import hashlib
import random
import re
import time
from pathlib import Path

import pytest
from support.waiting import wait_until

from contract.conftest import Cluster, list_containers
from contract.test_containers import write_job_file
from contract.test_jobs import read_job, write

pytestmark = pytest.mark.cluster

LARGE = {"cores": 1, "memory": "512m"}
LINES, LINE_BYTES, BINARY_BYTES = 1_000_000, 41, 50_000_000
BINARY = f"import random, sys; sys.stdout.buffer.write(random.Random(1).randbytes({BINARY_BYTES}))"
BOTH = """
import sys
for number in range(20_000):
    print(number)
    print(-number, file=sys.stderr)
sys.stdout.write("x" * 100_000 + "\\nno end")
"""
# Leaves a child to process 1, waits until it has ended, and tells how many that ended are still there.
ORPHANS = """
import os, pathlib, time
if os.fork() == 0:
    for _ in range(5):
        if os.fork() == 0:
            time.sleep(0.5)
            os._exit(0)
    os._exit(0)
os.wait()
time.sleep(1.5)
states = [path.read_text().rpartition(")")[2].split()[0] for path in pathlib.Path("/proc").glob("[0-9]*/stat")]
print("zombies:", states.count("Z"))
"""
LIMITED_LINES = 600_000
MISSING = re.compile(r"cms: the output of \S+ is larger than its logLimit: ([0-9,]+) bytes are missing here\n")
# Prints while it is being stopped, too.
STOPPED = "trap 'seq 5001 6000; exit 0' TERM; seq 5000; while :; do sleep 0.2; done"
HUNGRY = "print(len(b'x' * (1 << 30)))"


def numbers(first: int, last: int) -> str:
    """Return what `seq FIRST LAST` prints."""
    return "".join(f"{number}\n" for number in range(first, last + 1))


def read_log(cluster: Cluster, job_id: str, folder: Path) -> bytes:
    """Return the whole log of a job, both streams, by way of a file."""
    file = folder / "log"
    cluster.cms("logs", f"--output={file}", job_id).ok()
    content = file.read_bytes()
    file.unlink()
    return content


def count_missing(stderr: str) -> int:
    """Return how many bytes of its job's output a command said that are missing."""
    return sum(int(amount.replace(",", "")) for amount in MISSING.findall(stderr))


def write_python_job(folder: Path, program: str, **spec: object) -> str:
    """Write a job file for a Python program; return its path."""
    write(folder, "program.py", program)
    return write_job_file(folder, command=["python3", "/opt/cloudmesh/job/program.py"], files=["program.py"], **spec)


@pytest.mark.parametrize(
    ("job_id", "script", "printed"),
    [
        ("quick", "seq 200000", numbers(1, 200_000)),
        ("pause", "seq 1 90000; sleep 3; seq 90001 91000", numbers(1, 91_000)),
    ],
)
def test_every_line_arrives_in_order_and_once(cluster, tmp_path, job_id, script, printed):
    outcome = cluster.cms("submit", f"--id={job_id}", write_job_file(tmp_path, command=["sh", "-c", script])).ok()
    assert outcome.stdout == printed
    assert cluster.cms("logs", job_id).ok().stdout == printed


def test_a_million_lines_arrive(cluster, tmp_path, record_property):
    file = write_job_file(tmp_path, command=["seq", "-f", f"%0{LINE_BYTES - 1}.0f", str(LINES)], resources=LARGE)
    outcome = cluster.cms("submit", "--id=millions", file, seconds=600).ok()
    record_property("seconds", outcome.seconds)
    assert len(outcome.stdout) == LINES * LINE_BYTES
    assert outcome.stdout == "".join(f"{number:0{LINE_BYTES - 1}}\n" for number in range(1, LINES + 1))
    assert read_log(cluster, "millions", tmp_path) == outcome.stdout.encode()


def test_every_byte_arrives_whatever_it_is(cluster, tmp_path):
    file = write_job_file(tmp_path, command=["python3", "-c", BINARY], resources=LARGE)
    cluster.cms("submit", "--detach", "--id=binary", file).ok()
    assert wait_until(lambda: read_job(cluster, "binary")["state"] == "succeeded", 240), "never: the job has ended"
    expected = random.Random(1).randbytes(BINARY_BYTES)  # noqa: S311 - nothing secret
    if cluster.provider == "kubernetes":
        expected = expected.replace(b"\r\n", b"\n")  # containerd reads lines, and drops a carriage return at their end
    log = read_log(cluster, "binary", tmp_path)
    assert len(log) == len(expected)
    assert hashlib.sha256(log).digest() == hashlib.sha256(expected).digest()


def test_both_streams_arrive_in_their_order_and_to_their_last_byte(cluster, tmp_path):
    outcome = cluster.cms("submit", "--id=both", write_python_job(tmp_path, BOTH)).ok()
    assert outcome.stdout == numbers(0, 19_999) + "x" * 100_000 + "\nno end"
    assert [line for line in outcome.stderr.splitlines() if line.lstrip("-").isdigit()] == [
        str(-number) for number in range(20_000)
    ]
    assert cluster.cms("logs", "both").ok().stdout == outcome.stdout


def test_all_that_every_attempt_printed_arrives(cluster, tmp_path):
    file = write_job_file(tmp_path, command=["sh", "-c", "seq 100000; exit 3"], retries=1)
    outcome = cluster.cms("submit", "--id=again", file)
    assert outcome.status == 1
    assert outcome.stdout == numbers(1, 100_000) * 2
    assert cluster.cms("logs", "again").ok().stdout == outcome.stdout


def test_of_what_is_larger_than_the_limit_the_first_and_the_last_part_are_kept_and_what_is_missing_is_told(
    cluster, tmp_path
):
    script = f"seq {LIMITED_LINES}; echo the end; exit 3"
    file = write_job_file(tmp_path, command=["sh", "-c", script], logLimit="1m")
    printed = f"{numbers(1, LIMITED_LINES)}the end\n"
    followed = cluster.cms("submit", "--id=limited", file)
    assert (followed.status, followed.stderr.splitlines()[-1]) == (1, "ERROR: job limited failed: exit code 3")
    assert len(followed.stdout) + count_missing(followed.stderr) == len(printed)
    assert wait_until(lambda: MISSING.search(cluster.cms("logs", "limited").ok().stderr), 60), "never: some is missing"
    outcome = cluster.cms("logs", "limited").ok()
    assert len(outcome.stdout) + count_missing(outcome.stderr) == len(printed)
    assert len(outcome.stdout) <= 1 << 20
    assert outcome.stdout.endswith("the end\n")
    log = read_log(cluster, "limited", tmp_path).decode()
    first, last = log.split(outcome.stderr)
    assert (first + last, printed.startswith(first), printed.endswith(last)) == (outcome.stdout, True, True)
    assert min(len(first), len(last)) > 1 << 18


@pytest.mark.parametrize("count", [1, 2])
def test_all_that_a_job_printed_until_it_was_stopped_is_kept(cluster, tmp_path, count):
    job_id = f"printed-{count}"
    file = write_job_file(tmp_path, command=["sh", "-c", STOPPED], count=count)
    cluster.cms("submit", "--detach", f"--id={job_id}", file).ok()
    printed = sorted(numbers(1, 5000).splitlines() * count)
    assert wait_until(lambda: sorted(cluster.cms("logs", job_id).ok().stdout.splitlines()) == printed, 90)
    cluster.cms("stop", job_id).ok()
    printed = sorted(numbers(1, 6000).splitlines() * count)
    assert sorted(cluster.cms("logs", job_id).ok().stdout.splitlines()) == printed
    time.sleep(20)  # Kubernetes has deleted the pods then, and their hosts have removed what they printed
    assert sorted(cluster.cms("logs", job_id).ok().stdout.splitlines()) == printed
    if count == 1:
        assert cluster.cms("logs", job_id).ok().stdout == numbers(1, 6000)


def test_what_every_task_printed_is_kept_where_one_fails_and_the_others_are_ended(cluster, tmp_path):
    script = "echo task $CMS_TASK_INDEX; [ $CMS_TASK_INDEX = 1 ] || exec sleep 600; sleep 8; exit 4"
    file = write_job_file(tmp_path, command=["sh", "-c", script], count=3)
    cluster.cms("submit", "--id=one-fails", file).expect_failure()
    assert sorted(cluster.cms("logs", "one-fails").ok().stdout.splitlines()) == ["task 0", "task 1", "task 2"]


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        ("kill -SEGV $$", 139, "killed by SIGSEGV (exit code 139)"),
        ("kill -ABRT $$", 134, "killed by SIGABRT (exit code 134)"),
        ("exit 137", 137, "killed by SIGKILL (exit code 137)"),
        ("exit 255", 255, "exit code 255"),
    ],
)
def test_a_program_that_a_signal_ended_has_failed_and_the_signal_is_named(cluster, tmp_path, script, code, reason):
    job_id = f"signal-{code}"
    outcome = cluster.cms("submit", f"--id={job_id}", write_job_file(tmp_path, command=["sh", "-c", script]))
    assert outcome.expect_failure() == [f"job {job_id} failed: {reason}"]
    job = read_job(cluster, job_id)
    assert (job["state"], job["exit_code"], job["reason"]) == ("failed", code, reason)


def test_memory_is_the_cause_where_the_kernel_says_so_and_else_it_is_not_guessed(cluster, tmp_path):
    outcome = cluster.cms("submit", "--id=hungry", write_job_file(tmp_path, command=["python3", "-c", HUNGRY]))
    # Docker and containerd do not always hear of it before the program is gone.
    assert outcome.expect_failure()[0].removeprefix("job hungry failed: ") in (
        "out of memory: give it more",
        "killed by SIGKILL (exit code 137)",
    )


def test_what_a_program_orphans_is_reaped(cluster, tmp_path):
    outcome = cluster.cms("submit", write_python_job(tmp_path, ORPHANS)).ok()
    assert outcome.stdout == "zombies: 0\n"


def test_a_job_that_a_restart_of_all_hosts_ended_says_so_and_its_output_is_there(cluster, tmp_path):
    file = write_job_file(tmp_path, command=["sh", "-c", "seq 1000; exec sleep 600"])
    cluster.cms("submit", "--detach", "--id=restarted", file).ok()
    assert wait_until(lambda: cluster.cms("logs", "restarted").stdout == numbers(1, 1000), 60), "never: it has printed"
    (host,) = read_job(cluster, "restarted")["hosts"]
    for container in list_containers(cluster):
        container.restart(timeout=10)
    states = []

    def has_ended() -> bool:
        outcome = cluster.cms("jobs", "restarted", "--output=json")
        states.append(outcome.json() if outcome.status == 0 else {"state": "unknown", "reason": outcome.stderr})
        return states[-1]["state"] == "failed"

    assert wait_until(has_ended, 180), f"never: the job has failed: {states[-1]}"
    assert (states[-1]["reason"], states[-1]["exit_code"]) == (f"its host {host} was restarted", None)
    assert cluster.cms("logs", "restarted").ok().stdout == numbers(1, 1000)
    assert wait_until(lambda: '"healthy": true' in cluster.cms("info", "--output=json").stdout, 180), (
        "never: the cluster is healthy again"
    )
