"""What travels with a job and what spark-submit is told."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec.job import Executor, Resources, describe
from cloudmesh.cluster.spec.job_bundle import make_bundle
from cloudmesh.cluster.spec.load import load
from cloudmesh.cluster.spec.spark import Dependencies, SparkJob, submit_arguments


@pytest.fixture
def job(tmp_path: Path) -> SparkJob:
    for name in ("main.py", "b.jar", "c.py", "d.txt", "run.sh"):
        (tmp_path / name).write_text(name)
    (tmp_path / "run.sh").chmod(0o700)
    deps = Dependencies((tmp_path / "b.jar",), (tmp_path / "c.py",), (tmp_path / "d.txt", tmp_path / "run.sh"))
    return SparkJob("count", main=tmp_path / "main.py", arguments=("--x", "a b"), deps=deps)


def test_the_layer_holds_the_files_with_their_directories_and_owners(job: SparkJob) -> None:
    with tarfile.open(fileobj=io.BytesIO(make_bundle(job).layer)) as archive:
        entries = {entry.name: (entry.mode, entry.uid, entry.gid, entry.mtime) for entry in archive}
        content = archive.extractfile("opt/cloudmesh/job/d.txt")
        assert content is not None
        assert content.read() == b"d.txt"
    assert entries == {
        "opt": (0o755, 0, 0, 0),
        "opt/cloudmesh": (0o755, 0, 0, 0),
        "opt/cloudmesh/job": (0o755, 185, 185, 0),
        "opt/cloudmesh/job/b.jar": (0o644, 185, 185, 0),
        "opt/cloudmesh/job/c.py": (0o644, 185, 185, 0),
        "opt/cloudmesh/job/d.txt": (0o644, 185, 185, 0),
        "opt/cloudmesh/job/main.py": (0o644, 185, 185, 0),
        "opt/cloudmesh/job/run.sh": (0o755, 185, 185, 0),
    }


def test_the_same_job_gives_the_same_bytes_from_any_folder_at_any_time(job: SparkJob, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tmp_path, other, ignore=shutil.ignore_patterns("other"))
    os.utime(other / "d.txt", (0, 0))
    moved = replace(
        job,
        main=other / "main.py",
        deps=Dependencies((other / "b.jar",), (other / "c.py",), (other / "d.txt", other / "run.sh")),
    )
    assert make_bundle(moved) == make_bundle(job)
    assert gzip.decompress(make_bundle(job).layer)


def test_any_change_changes_the_digest(job: SparkJob, tmp_path: Path) -> None:
    digests = {make_bundle(job).digest}
    digests.add(make_bundle(replace(job, arguments=("--x",))).digest)
    digests.add(make_bundle(replace(job, executor=Executor(instances=2))).digest)
    (tmp_path / "d.txt").write_text("D.txt")
    digests.add(make_bundle(job).digest)
    (tmp_path / "d.txt").chmod(0o755)
    digests.add(make_bundle(job).digest)
    assert len(digests) == 5
    assert all(len(digest) == 64 for digest in digests)


def test_a_file_that_has_gone_is_named(job: SparkJob, tmp_path: Path) -> None:
    (tmp_path / "d.txt").unlink()
    with pytest.raises(UsageError, match=r"d\.txt cannot be read"):
        make_bundle(job)


def test_spark_submit_is_told_everything_once(job: SparkJob) -> None:
    job = replace(job, driver=Resources(1, 600), executor=Executor(2, 700, 3), spark_conf={"spark.b": "x y=z"})
    folder = "/opt/cloudmesh/job"
    assert submit_arguments(job) == [
        *("--name", "count", "--driver-memory", "600m", "--executor-cores", "2", "--executor-memory", "700m"),
        *("--conf", "spark.b=x y=z", "--conf", "spark.cores.max=6", "--conf", "spark.executor.instances=3"),
        *("--jars", f"{folder}/b.jar", "--py-files", f"{folder}/c.py", "--files", f"{folder}/d.txt,{folder}/run.sh"),
        *(f"{folder}/main.py", "--x", "a b"),
    ]


def test_a_jar_is_started_by_its_class() -> None:
    job = SparkJob("count", main_in_image="/opt/a.jar", main_class="a.B", arguments=("1",))
    assert submit_arguments(job)[-4:] == ["--class", "a.B", "/opt/a.jar", "1"]


def test_a_described_job_loads_as_the_same_job(job: SparkJob, tmp_path: Path) -> None:
    job = replace(job, env={"B": "1", "A": "2"}, spark_conf={"spark.z": "1", "spark.a": "2"}, timeout_seconds=9)
    described = json.dumps(describe(job))
    assert described == json.dumps(describe(replace(job, env={"A": "2", "B": "1"})))
    (tmp_path / "job.yaml").write_text(described)
    assert load(str(tmp_path / "job.yaml"), [], {}) == job
