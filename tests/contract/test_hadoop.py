"""What every provider promises of Hadoop: the programs of Hadoop's own examples, and their answers."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from support.cms import Outcome

from contract.conftest import EXAMPLES, Cluster
from contract.test_jobs import write

pytestmark = pytest.mark.cluster


# Tasks of seconds, which for the second compiler would take twice as much of a processor's time.
BRIEF = {f"mapreduce.{kind}.java.opts": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1" for kind in ("map", "reduce")}


def brief(name: str, folder: Path) -> str:
    """Write the job file of an example anew, with settings for tasks of seconds."""
    described = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    spec = described["spec"]
    spec["conf"] = {**BRIEF, **spec.get("conf", {})}
    if "input" in spec:
        spec["input"] = [str(EXAMPLES / path) for path in spec["input"]]
    return write(folder, f"{name}.yaml", json.dumps(described))


def example(cluster: Cluster, name: str, folder: Path, *words: str) -> Outcome:
    """Run an example to its end."""
    return cluster.cms("submit", f"--id={name}", *words, brief(name, folder)).ok()


def fetched(cluster: Cluster, job_id: str, folder: Path) -> str:
    """Return what is in the output that a job has left."""
    cluster.cms("get", job_id, str(folder)).ok()
    return "".join(path.read_text() for path in sorted(folder.rglob("part-*")))


def counted(output: str) -> Counter[str]:
    """Return the counts that the example has left."""
    return Counter({word: int(count) for word, count in (line.split("\t") for line in output.splitlines())})


def words() -> Counter[str]:
    """Return what is between blanks, tabs and ends of lines of its text: Java's tokens."""
    return Counter(re.split("[ \t\n\r\f]+", (EXAMPLES / "text" / "opticks.txt").read_text().strip()))


def test_wordcount_counts_as_plain_python_does(cluster, tmp_path):
    example(cluster, "hadoop-wordcount", tmp_path, "--param=reduces=2")
    assert counted(fetched(cluster, "hadoop-wordcount", tmp_path / "counts")) == words()


def test_pi_is_about_pi(cluster, tmp_path):
    outcome = example(cluster, "hadoop-pi", tmp_path, "--param=samples=1000")
    answer = re.search(r"Estimated value of Pi is ([0-9.]+)", outcome.stdout)
    # The example's points are a fixed sequence: its answer is always the same.
    assert answer
    assert answer[1].startswith("3.144")


def test_what_terasort_has_sorted_is_in_order_and_complete(cluster, tmp_path):
    outcome = example(cluster, "hadoop-terasort", tmp_path, "--param=rows=20000")
    made = re.search(r"CHECKSUM=(\d+)", outcome.stderr)
    assert made
    # teravalidate would tell here of rows that are not in order; the checksum is that of the rows that teragen made.
    assert fetched(cluster, "hadoop-terasort", tmp_path / "report") == f"checksum\t{int(made[1]):x}\n"
