"""Spark's own example programs, as they ship, give on a cluster what they give on one machine."""

from __future__ import annotations

import fcntl
import io
import json
import re
import tarfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from cloudmesh.cluster.images import catalog
from cloudmesh.cluster.spec.job_bundle import JOB_DIR
from contract.conftest import Cluster
from contract.test_jobs import BRIEF, job

pytestmark = pytest.mark.cluster

SPARK = "/opt/spark"
SHIPPED = "examples/src/main/python"
PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 600
# spark-submit by itself mixes what a program prints with what it says on stderr; see sitecustomize.py of the image.
APART = {"CMS_OUTPUTS": "/proc/1/fd", "PYTHONPATH": "/opt/cloudmesh/driver"}
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
# Each coordinate is seen alone, three times of four with the label 1: the weights must come to the logarithm of 3.
POINTS = "".join(
    f"{label} {' '.join('1' if each == at else '0' for each in range(10))}\n"
    for at in range(10)
    for label in (1, 1, 1, -1)
)
LINES = "to be or not\nto be\nthat is the question\nto be\n" * 5


@dataclass(frozen=True)
class Example:
    """A program, and what of its output counts.

    Attributes:
        program: below the folder of Spark's examples, or one of `PROGRAMS`.
        arguments: of it; paths are relative to where jobs run.
        files: that it reads and that Spark does not ship, by name.
        conf: Spark properties.
        begins: the last line that begins so, and all after it, is the result; empty: all is.
    """

    program: str
    arguments: tuple[str, ...] = ()
    files: Mapping[str, str] | None = None
    conf: Mapping[str, str] | None = None
    begins: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """Spark properties, with those of any brief program."""
        return {**BRIEF, **(self.conf or {})}

    @property
    def plain(self) -> bool:
        """Whether the program is all that there is to submit."""
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
        with archive(container, SPARK) as tar:  # a link, of which Docker gives the link
            home = tar.getmembers()[0].linkname
        with archive(container, f"{home}/{SHIPPED}") as tar:
            tar.extractall(folder, filter="data")
    finally:
        container.remove()
        client.close()
    for program in PROGRAMS.iterdir():
        (folder / "python" / program.name).write_bytes(program.read_bytes())
    return folder / "python"


@pytest.fixture(scope="module")
def submitted(cluster: Cluster, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the ids of all examples' jobs: more than have room beside each other, and none is in another's way."""
    folder = tmp_path_factory.mktemp("jobs")
    return {name: submit(cluster, example, programs, folder / name) for name, example in EXAMPLES.items()}


@pytest.fixture(scope="module")
def expected(
    submitted: dict[str, str], programs: Path, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str
) -> dict[str, str]:
    """Return what each example prints where Spark is one process on this machine; the cluster's jobs run meanwhile."""
    del submitted
    # The same whatever the cluster's provider, whose test may run beside this one.
    with tmp_path_factory.getbasetemp().parent.joinpath(f"examples-{testrun_uid}").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known: dict[str, str] = json.loads(file.read() or "{}")
        if not known:
            with closing(docker.from_env()) as client:
                known = {name: locally(client, example, programs) for name, example in EXAMPLES.items()}
            file.write(json.dumps(known))
    return known


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_spark_gives_what_it_gives_on_one_machine(cluster, submitted, expected, name):
    job_id = submitted[name]
    end = time.monotonic() + SECONDS
    while (found := job(cluster, job_id))["state"] in ("queued", "running") and time.monotonic() < end:
        time.sleep(3)
    printed = cluster.cms("logs", job_id).ok()
    assert found["state"] == "succeeded", printed.stdout + printed.stderr
    ours, theirs = (result(EXAMPLES[name], text) for text in (printed.stdout, expected[name]))
    assert [words for words, _ in ours] == [words for words, _ in theirs]
    for (words, numbers), (_, right) in zip(ours, theirs, strict=True):
        assert numbers == pytest.approx(right, rel=1e-6, abs=1e-6), words


def result(example: Example, printed: str) -> list[tuple[str, list[float]]]:
    """Return the lines of a result, sorted, each as its words and its numbers."""
    lines = printed.splitlines()
    if example.begins:
        start = max(at for at, line in enumerate(lines) if line.startswith(example.begins))
        # The number of the last batch is chance.
        lines = [line for line in lines[start:] if not line.startswith("Batch")]
    return sorted((NUMBER.sub("#", line), [float(found) for found in NUMBER.findall(line)]) for line in lines)


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


def locally(client: Any, example: Example, programs: Path) -> str:
    """Return what an example prints in one container, the same Spark being its own cluster."""
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
        container.put_archive(str(main.parent.parent), packed(main.parent.name, files))
        container.start()
        assert container.wait(timeout=SECONDS)["StatusCode"] == 0, container.logs().decode()
        return str(container.logs(stderr=False).decode())
    finally:
        container.remove(force=True)


def packed(folder: str, files: Mapping[str, str]) -> bytes:
    """Return files in a folder as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content.encode())
            tar.addfile(entry, io.BytesIO(content.encode()))
    return archive.getvalue()


def archive(container: Any, path: str) -> tarfile.TarFile:
    """Return a folder of a container."""
    stream, _ = container.get_archive(path)
    return tarfile.open(fileobj=io.BytesIO(b"".join(stream)))
