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


# For tasks of seconds, the JVM's second compiler costs as much processor time again.
BRIEF = {f"mapreduce.{kind}.java.opts": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1" for kind in ("map", "reduce")}


# Has a single solution.
PUZZLE = """\
8 5 ? 3 9 ? ? ? ?
? ? 2 ? ? ? ? ? ?
? ? 6 ? 1 ? ? ? 2
? ? 4 ? ? 3 ? 5 9
? ? 8 9 ? 1 4 ? ?
3 2 ? 4 ? ? 8 ? ?
9 ? ? ? 8 ? 5 ? ?
? ? ? ? ? ? 2 ? ?
? ? ? ? 4 5 ? 7 8
"""


def write_brief(name: str, folder: Path) -> str:
    """Write a copy of an example's job file, with settings for tasks of seconds; return its path."""
    described = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    spec = described["spec"]
    spec["conf"] = {**BRIEF, **spec.get("conf", {})}
    if "input" in spec:
        spec["input"] = [str(EXAMPLES / path) for path in spec["input"]]
    return write(folder, f"{name}.yaml", json.dumps(described))


def run_example(cluster: Cluster, name: str, folder: Path, *words: str) -> Outcome:
    """Run an example to its end; AssertionError: it fails."""
    return cluster.cms("submit", f"--id={name}", *words, write_brief(name, folder)).ok()


def fetch(cluster: Cluster, job_id: str, folder: Path) -> str:
    """Return the text of the output files that a job has left."""
    cluster.cms("get", job_id, str(folder)).ok()
    return "".join(path.read_text() for path in sorted(folder.rglob("part-*")))


def parse_counts(output: str) -> Counter[str]:
    """Return the counts in the output of the example, by word."""
    return Counter({word: int(count) for word, count in (line.split("\t") for line in output.splitlines())})


def count_words() -> Counter[str]:
    """Return how often a word is in the text of the example; words are what Java's StringTokenizer takes for them."""
    return Counter(re.split("[ \t\n\r\f]+", (EXAMPLES / "text" / "opticks.txt").read_text().strip()))


def test_wordcount_counts_as_plain_python_does(cluster, tmp_path):
    run_example(cluster, "hadoop-wordcount", tmp_path, "--param=reduces=2")
    assert parse_counts(fetch(cluster, "hadoop-wordcount", tmp_path / "counts")) == count_words()


def test_pi_is_about_pi(cluster, tmp_path):
    outcome = run_example(cluster, "hadoop-pi", tmp_path, "--param=samples=1000")
    answer = re.search(r"Estimated value of Pi is ([0-9.]+)", outcome.stdout)
    # The example's points are a fixed sequence: its answer is always the same.
    assert answer
    assert answer[1].startswith("3.144")


def test_what_terasort_has_sorted_is_in_order_and_complete(cluster, tmp_path):
    outcome = run_example(cluster, "hadoop-terasort", tmp_path, "--param=rows=20000")
    checksum = re.search(r"CHECKSUM=(\d+)", outcome.stderr)
    assert checksum
    # teravalidate would list here rows that are not in order; the checksum is that of the rows that teragen made.
    assert fetch(cluster, "hadoop-terasort", tmp_path / "report") == f"checksum\t{int(checksum[1]):x}\n"


def test_a_program_reads_a_local_file_that_an_argument_names(cluster, tmp_path):
    write(tmp_path, "puzzle.dta", PUZZLE)
    small = {"head": {"cores": 1, "memory": "1536m"}, "worker": {"instances": 1, "cores": 1, "memory": "2g"}}
    spec = {"jar": "examples", "program": "sudoku", "arguments": ["puzzle.dta"], **small}
    job = {"apiVersion": "cms/v1", "kind": "HadoopJob", "metadata": {"name": "sudoku"}, "spec": spec}
    outcome = cluster.cms("submit", write(tmp_path, "sudoku.yaml", json.dumps(job))).ok()
    assert "8 5 1 3 9 2 6 4 7" in outcome.stdout
    assert "Found 1 solutions" in outcome.stdout
