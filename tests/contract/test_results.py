"""What jobs leave in $CMS_RESULTS, as every provider promises to copy it to the operator."""

import hashlib
import re
import shutil
import time
from pathlib import Path

import pytest
from support.waiting import wait_until

from contract.conftest import Cluster
from contract.test_containers import write_job_file as write_container_job
from contract.test_jobs import write_job_file

pytestmark = pytest.mark.cluster

BIG, HOLE = 1 << 28, 1 << 30
MEMORY_MB = 150
LEAVE = """
import hashlib, os
from pyspark import SparkContext

RESULTS = os.environ["CMS_RESULTS"]

def leave(number):
    with open(os.path.join(os.environ["CMS_RESULTS"], f"part-{number}"), "w") as file:
        file.write(str(number) * 1000)
    return number

with SparkContext() as spark:
    spark.range(4, numSlices=4).map(leave).collect()
os.makedirs(f"{RESULTS}/deep/er")
with open(f"{RESULTS}/deep/er/answer", "w") as file:
    file.write("42")
os.symlink("/etc/passwd", f"{RESULTS}/link")
os.symlink("deep/er/answer", f"{RESULTS}/inside")
os.mkfifo(f"{RESULTS}/pipe")
os.mkdir(f"{RESULTS}/nothing")
with open(RESULTS.encode() + b"/caf\\xe9", "wb") as file:
    file.truncate(1 << 30)
os.chmod(f"{RESULTS}/deep/er/answer", 0o640)
digest, block = hashlib.sha256(), os.urandom(1 << 20)
with open(f"{RESULTS}/big", "wb") as file:
    for _ in range(1 << 8):
        digest.update(block)
        file.write(block)
print(digest.hexdigest())
"""

# One task leaves something and goes on; the other fails when it must be there.
HALF = """
import os, sys, time
if os.environ["CMS_TASK_INDEX"] == "1":
    time.sleep(10)
    sys.exit(3)
with open(os.environ["CMS_RESULTS"] + "/half", "w") as file:
    file.write("half done")
time.sleep(600)
"""


def compute_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    checksum = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return checksum.hexdigest()


def get(cluster: Cluster, job_id: str, target: Path) -> tuple[float, str]:
    """Run `get`, which must succeed; return the most memory that it took, in MiB, and what it said."""
    # What the system keeps of a process that has ended counts the memory of the tests themselves, which started it.
    peak = re.compile(r"VmHWM:\s+(\d+) kB")
    memory = 0.0
    with cluster.operator.start("get", "-n", cluster.name, job_id, str(target)) as running:
        while not running.has_ended:
            if match := peak.search(Path(f"/proc/{running.process.pid}/status").read_text()):
                memory = int(match[1]) / 1024
            time.sleep(0.05)
        outcome = running.wait(10).ok()
    assert memory
    return memory, outcome.stderr


def test_results_of_all_tasks_are_brought_whole_in_constant_memory_after_the_job_has_ended(cluster, tmp_path):
    outcome = cluster.cms("submit", "--id=leaves", write_job_file(tmp_path, LEAVE)).ok()
    here = tmp_path / "here"
    try:
        with cluster.operator.start("get", "-n", cluster.name, "leaves", str(here)) as running:
            wait_until(lambda: list(here.rglob(".cms-*.part")), 60, pause=0.01)
            running.kill()  # in the middle
        memory, said = get(cluster, "leaves", here)
        assert memory < MEMORY_MB
        assert re.search("left out: .*/link: it is a link to /etc/passwd, which leads out", said)
        assert re.search("left out: .*/pipe: it is a pipe", said)
        assert not list(here.rglob(".cms-*"))
        by_name = {path.name: path for path in here.rglob("*") if path.is_file() and not path.is_symlink()}
        folder = by_name["big"].parent
        assert (folder / "inside").readlink() == Path("deep/er/answer")
        assert (folder / "nothing").is_dir()
        assert by_name["answer"].stat().st_mode & 0o777 == 0o640
        holes = by_name.pop("caf\udce9").stat()
        assert (holes.st_size, holes.st_blocks) == (HOLE, 0)
        assert by_name["big"].stat().st_size == BIG
        assert f"{compute_digest(by_name['big'])}\n" == outcome.stdout
        assert by_name["answer"].parent.parts[-2:] == ("deep", "er")
        assert {f"part-{number}" for number in range(4)} | {"big", "answer"} == set(by_name)
        assert by_name["part-3"].read_text() == "3" * 1000
        again = {path: path.stat().st_mtime_ns for path in by_name.values()}
        get(cluster, "leaves", here)
        assert {path: path.stat().st_mtime_ns for path in again} == again
        by_name["answer"].write_text("mine")
        refused = cluster.cms("get", "leaves", str(here))
        assert refused.status == 1
        assert str(by_name["answer"]) in refused.stderr
        assert by_name["answer"].read_text() == "mine"
    finally:
        shutil.rmtree(here, ignore_errors=True)


def test_a_job_that_left_nothing_is_no_failure_and_one_that_is_not_there_is(cluster, tmp_path):
    cluster.cms("submit", "--id=leaves-nothing", write_job_file(tmp_path, "print(1)")).ok()
    outcome = cluster.cms("get", "leaves-nothing", str(tmp_path / "here")).ok()
    assert "no files" in outcome.stderr
    assert not (tmp_path / "here").exists()
    assert cluster.cms("get", "no-such-job", str(tmp_path / "here")).status == 3


def test_what_a_task_had_left_when_another_failed_is_brought(cluster, tmp_path):
    file = write_container_job(tmp_path, command=["python3", "-c", HALF], count=2)
    assert cluster.cms("submit", "--id=leaves-half", file).status == 1
    cluster.cms("get", "leaves-half", str(tmp_path / "here")).ok()
    assert [path.read_text() for path in (tmp_path / "here").rglob("half")] == ["half done"]
