"""Spark's own example programs, as they ship, give on a cluster what they give on a single machine."""

from __future__ import annotations

import fcntl
import io
import json
import re
import tarfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from support.waiting import wait_until

from cloudmesh.cluster.images import catalog
from cloudmesh.cluster.spec.job_bundle import JOB_DIR
from contract.conftest import Cluster
from contract.test_jobs import BRIEF, read_job, write

pytestmark = pytest.mark.cluster

SPARK = "/opt/spark"
SHIPPED = "examples/src/main/python"
PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 600
# spark-submit by itself mixes what a program prints with what it says on stderr; see sitecustomize.py of the image.
APART = {"CMS_OUTPUTS": "/proc/1/fd", "PYTHONPATH": "/opt/cloudmesh/driver"}
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
# A point has 1 in a single coordinate, three times of four with the label 1: all weights must come to log 3.
POINTS = "".join(
    f"{label} {' '.join('1' if index == at else '0' for index in range(10))}\n"
    for at in range(10)
    for label in (1, 1, 1, -1)
)
LINES = "to be or not\nto be\nthat is the question\nto be\n" * 5


@dataclass(frozen=True)
class Example:
    """A program, and which part of its output is compared.

    Attributes:
        program: below the folder of Spark's examples, or one of `PROGRAMS`.
        arguments: of it; paths are relative to where jobs run.
        files: that it reads and that Spark does not ship, by name.
        conf: Spark properties.
        begins: the result is the last line that begins so, and all lines after it; empty: all lines.
    """

    program: str
    arguments: tuple[str, ...] = ()
    files: Mapping[str, str] | None = None
    conf: Mapping[str, str] | None = None
    begins: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """Spark properties, with those that every brief program gets."""
        return {**BRIEF, **(self.conf or {})}

    @property
    def plain(self) -> bool:
        """Whether nothing but the program is submitted, without a job file."""
        return not self.files


EXAMPLES = {
    "wordcount": Example("wordcount.py", ("data/mllib/images/license.txt",)),
    "sort": Example("sort.py", ("data/mllib/pagerank_data.txt",)),
    "pagerank": Example("pagerank.py", ("data/mllib/pagerank_data.txt", "5")),
    "kmeans": Example("kmeans.py", ("data/mllib/kmeans_data.txt", "2", "0.1")),
    "ml-kmeans": Example("ml/kmeans_example.py"),
    "als": Example("als.py", ("50", "100", "5", "3")),
    "regression": Example("logistic_regression.py", (f"{JOB_DIR}/points", "20"), {"points": POINTS}, begins="Final w"),
    "sql": Example("sql/basic.py"),
    "streaming": Example(
        "bounded_stream.py",
        (f"{JOB_DIR}/lines",),
        {"lines": LINES},
        {"spark.sql.shuffle.partitions": "2"},
        begins="Batch",
    ),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with Spark's examples as they are in our image, and with our own program beside them."""
    folder = tmp_path_factory.mktemp("examples")
    client = docker.from_env()
    container = client.containers.create(catalog.tag("spark"))
    try:
        with copy_folder(container, SPARK) as tar:  # a link, of which Docker gives the link
            home = tar.getmembers()[0].linkname
        with copy_folder(container, f"{home}/{SHIPPED}") as tar:
            tar.extractall(folder, filter="data")
    finally:
        container.remove()
        client.close()
    for program in PROGRAMS.iterdir():
        (folder / "python" / program.name).write_bytes(program.read_bytes())
    return folder / "python"


@pytest.fixture(scope="module")
def submitted(cluster: Cluster, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the jobs' ids by example. Not all have room at the same time, so some wait for others."""
    folder = tmp_path_factory.mktemp("jobs")
    return {name: submit(cluster, example, programs, folder / name) for name, example in EXAMPLES.items()}


@pytest.fixture(scope="module")
def expected(
    submitted: dict[str, str], programs: Path, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str
) -> dict[str, str]:
    """Return what the examples print where Spark is a process on this machine; the cluster's jobs run meanwhile."""
    del submitted  # only so that the jobs are there first
    # The same whatever the cluster's provider, whose test may run beside this one.
    with tmp_path_factory.getbasetemp().parent.joinpath(f"examples-{testrun_uid}").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        outputs: dict[str, str] = json.loads(file.read() or "{}")
        if not outputs:
            with closing(docker.from_env()) as client:
                outputs = {name: run_locally(client, example, programs) for name, example in EXAMPLES.items()}
            file.write(json.dumps(outputs))
    return outputs


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_spark_gives_what_it_gives_on_one_machine(cluster, submitted, expected, name):
    job_id = submitted[name]
    job = wait_until(
        lambda: read_job(cluster, job_id),
        SECONDS,
        pause=3,
        satisfies=lambda job: job["state"] not in ("queued", "running"),
    )
    printed = cluster.cms("logs", job_id).ok()
    assert job["state"] == "succeeded", printed.stdout + printed.stderr
    ours, theirs = (parse_result(EXAMPLES[name], text) for text in (printed.stdout, expected[name]))
    assert [words for words, _ in ours] == [words for words, _ in theirs]
    for (words, numbers), (_, right) in zip(ours, theirs, strict=True):
        assert numbers == pytest.approx(right, rel=1e-6, abs=1e-6), words


def test_a_program_has_avro_without_more_jars(cluster, tmp_path):
    program = """
from pyspark.sql import SparkSession
from pyspark.sql.avro.functions import from_avro, to_avro

numbers = SparkSession.builder.getOrCreate().range(10)
written = numbers.select(to_avro("id").alias("written"))
print(written.select(from_avro("written", '"long"').alias("id")).groupBy().sum().collect()[0][0])
"""
    assert cluster.cms("submit", write(tmp_path, "avro.py", program)).ok().stdout == "45\n"


def parse_result(example: Example, printed: str) -> list[tuple[str, list[float]]]:
    """Return the lines of a result, sorted; a line is its text with # for numbers, and the numbers."""
    lines = printed.splitlines()
    if example.begins:
        start = max(at for at, line in enumerate(lines) if line.startswith(example.begins))
        # The number of the last batch is chance.
        lines = [line for line in lines[start:] if not line.startswith("Batch")]
    return sorted((NUMBER.sub("#", line), [float(number) for number in NUMBER.findall(line)]) for line in lines)


def submit(cluster: Cluster, example: Example, programs: Path, folder: Path) -> str:
    """Submit an example and return the job's id."""
    program = str(programs / example.program)
    if example.plain:
        return cluster.cms("submit", "--detach", program, "--", *example.arguments).ok().stdout.strip()
    folder.mkdir()
    for name, content in (example.files or {}).items():
        (folder / name).write_text(content)
    spec = {
        "mainApplicationFile": program,
        "arguments": list(example.arguments),
        "sparkConf": example.settings,
        "deps": {"files": list(example.files or {})},
    }
    written = {"apiVersion": "cms/v1", "kind": "SparkJob", "metadata": {"name": folder.name}, "spec": spec}
    (folder / "job.yaml").write_text(json.dumps(written))
    return cluster.cms("submit", "--detach", str(folder / "job.yaml")).ok().stdout.strip()


def run_locally(client: Any, example: Example, programs: Path) -> str:
    """Return what an example prints in a container of the same image, where Spark needs no cluster."""
    conf = [word for key, value in example.settings.items() for word in ("--conf", f"{key}={value}")]
    main = Path(JOB_DIR, Path(example.program).name)
    container = client.containers.create(
        catalog.tag("spark"),
        entrypoint=[f"{SPARK}/bin/spark-submit", "--master", "local[2]", *conf, str(main)],
        command=list(example.arguments),
        environment=APART,
    )
    try:
        files = {main.name: (programs / example.program).read_text(), **(example.files or {})}
        container.put_archive(str(main.parent.parent), pack(main.parent.name, files))
        container.start()
        assert container.wait(timeout=SECONDS)["StatusCode"] == 0, container.logs().decode()
        return str(container.logs(stderr=False).decode())
    finally:
        container.remove(force=True)


def pack(folder: str, files: Mapping[str, str]) -> bytes:
    """Return files in a folder as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content.encode())
            tar.addfile(entry, io.BytesIO(content.encode()))
    return archive.getvalue()


def copy_folder(container: Any, path: str) -> tarfile.TarFile:
    """Return a folder of a container as a tar archive."""
    stream, _ = container.get_archive(path)
    return tarfile.open(fileobj=io.BytesIO(b"".join(stream)))
