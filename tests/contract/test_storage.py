"""Volumes, as every provider promises them; only the provider's name differs between the runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import s3
from support.waiting import wait_until

from contract import test_containers as containers
from contract.conftest import Cluster, list_containers, run_on_all
from contract.test_jobs import write_job_file

pytestmark = pytest.mark.cluster

DIRECTORY = "/srv/cms-test/data"
WRITE = """
import os, sys
assert sys.argv[1] == os.environ["CMS_STORAGE_DATA"] == "file:///mnt/data", sys.argv
with open("/mnt/data/words", "w") as file:
    file.write("written by a job")
"""
READ = """
import errno
with open("/mnt/data/words") as file:
    print(file.read())
try:
    open("/mnt/data/more", "w")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
LAKE = """
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(1000).repartition(3).write.parquet(sys.argv[1] + "/numbers")
print(spark.read.parquet(sys.argv[1] + "/numbers").groupBy().sum("id").first()[0])
"""


def run_alike(cluster: Cluster, script: str) -> tuple[int, str]:
    """Run a script on every host; return status and output, which are the same on all."""
    (answer,) = set(run_on_all(cluster, script))
    return answer


def list_volumes(cluster: Cluster) -> dict[str, dict]:
    """Return the volumes that the cluster lists, by name."""
    return {volume["name"]: volume for volume in cluster.cms("storage", "list", "--output=json").json()}


@pytest.fixture(scope="module")
def data(cluster: Cluster) -> Iterator[str]:
    """Yield the name of a volume that is a directory on every host; the hosts do not share it."""
    cluster.cms("storage", "add", f"--directory={DIRECTORY}", "data").ok()
    yield "data"
    cluster.cms("storage", "remove", "--yes", "data").ok()


def test_a_place_is_on_every_host_and_the_same_again_changes_nothing(cluster, data):
    cluster.cms("storage", "add", f"--directory={DIRECTORY}", data).ok()
    assert list_volumes(cluster)[data]["source"] == DIRECTORY
    assert run_alike(cluster, f"stat -c %a {DIRECTORY}") == (0, "1777\n")


def test_another_place_of_the_same_name_is_refused(cluster, data):
    outcome = cluster.cms("storage", "add", "--directory=/srv/other", data)
    assert outcome.status == 1
    assert DIRECTORY in outcome.stderr
    assert run_alike(cluster, "test -e /srv/other") == (1, "")


def test_what_one_job_has_written_another_reads_and_may_not_write_where_it_asked_not_to(cluster, data, tmp_path):
    claim = {"name": data, "mount": "/mnt/data"}
    job = write_job_file(tmp_path, WRITE, storage=[claim], arguments=["${storage.data}"])
    cluster.cms("submit", job).ok()
    contents = run_on_all(cluster, f"cat {DIRECTORY}/words")
    assert sorted(contents)[0] == (0, "written by a job")
    # as a file system that the hosts share would show it
    run_on_all(cluster, f"[ -e {DIRECTORY}/words ] || printf 'written by a job' >{DIRECTORY}/words")
    outcome = cluster.cms("submit", write_job_file(tmp_path, READ, storage=[{**claim, "readOnly": True}])).ok()
    assert outcome.stdout.split("\n")[:2] == ["written by a job", "EROFS"]


def test_a_place_that_jobs_have_used_can_be_taken_away_and_made_again(cluster, tmp_path):
    job = write_job_file(tmp_path, "print(open('/mnt/again').readable())", storage=[{"name": "again", "mount": "/mnt"}])
    for _ in range(2):
        cluster.cms("storage", "add", "--directory=/srv/cms-again", "again").ok()
        run_on_all(cluster, "echo here >/srv/cms-again/again")
        assert cluster.cms("submit", job).ok().stdout == "True\n"
        cluster.cms("storage", "remove", "--yes", "again").ok()
    run_on_all(cluster, "rm -rf /srv/cms-again")


def test_a_place_is_not_taken_from_a_job_that_goes_on_though_it_uses_no_more_than_its_uri(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "used")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "used")
    cluster.cms("storage", "add", "--directory=/srv/cms-used", "used-disk").ok()
    cluster.cms("storage", "add", "--s3=s3a://used/in", "used-bucket").ok()
    volumes = ["used-disk", "used-bucket"]
    storage = [{"name": volume, "mount": f"/mnt/{volume}"} for volume in volumes]
    ends_at_sigterm = "trap exit TERM; sleep 600 & wait"
    file = containers.write_job_file(tmp_path, command=["sh", "-c", ends_at_sigterm], storage=storage)
    cluster.cms("submit", "--detach", "--id=user-of-places", file).ok()
    for volume in volumes:
        refused = cluster.cms("storage", "remove", "--yes", volume)
        assert refused.status == 1
        (line,) = (line for line in refused.stderr.splitlines() if line.startswith("ERROR"))
        assert f"storage {volume} is in use by job user-of-places" in line
    assert set(volumes) <= set(list_volumes(cluster))
    cluster.cms("stop", "user-of-places").ok()
    for volume in volumes:
        assert wait_until(lambda volume=volume: cluster.cms("storage", "remove", "--yes", volume).status == 0, 60), (
            "never: it is removed"
        )
    assert not set(volumes) & set(list_volumes(cluster))


def test_a_job_that_names_a_place_that_is_not_there_is_refused_before_anything_is_sent(cluster, data, tmp_path):
    outcome = cluster.cms("submit", write_job_file(tmp_path, READ, storage=[{"name": "nowhere", "mount": "/x"}]))
    assert outcome.status == 3
    assert "nowhere" in outcome.stderr
    assert data in outcome.stderr


def test_a_place_that_is_removed_keeps_its_data_and_one_without_goes_where_it_was_made(cluster):
    for name in ("kept", "empty"):
        cluster.cms("storage", "add", f"--directory=/srv/cms-{name}/a", name).ok()
    run_on_all(cluster, "echo mine >/srv/cms-kept/a/file")
    for name in ("kept", "empty"):
        cluster.cms("storage", "remove", "--yes", name).ok()
    assert not {"kept", "empty"} & set(list_volumes(cluster))
    assert run_alike(cluster, "cat /srv/cms-kept/a/file; test -e /srv/cms-empty") == (1, "mine\n")
    assert cluster.cms("storage", "remove", "--yes", "kept").status == 3


def test_a_path_that_leads_into_the_system_is_refused_by_the_hosts(cluster):
    run_on_all(cluster, "ln -sfn /etc /srv/cms-link")
    outcome = cluster.cms("storage", "add", "--directory=/srv/cms-link/x", "link")
    assert outcome.status == 1
    assert "leads to /etc/x" in outcome.stderr
    assert "link" not in list_volumes(cluster)
    assert run_alike(cluster, "test -e /etc/x") == (1, "")


@pytest.fixture
def lake(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Bucket]:
    """Yield a bucket that is the volume "lake" of the cluster."""
    networks = list_containers(cluster)[0].attrs["NetworkSettings"]["Networks"].values()
    address = next(network["Gateway"] for network in networks)
    with s3.bucket(tmp_path, address) as bucket:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET_KEY)
        words = [f"--s3=s3a://{bucket.name}/in", f"--endpoint={bucket.endpoint}", "--path-style", "lake"]
        cluster.cms("storage", "add", *words).ok()
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        yield bucket
        cluster.cms("storage", "remove", "--yes", "lake").ok()


def test_spark_writes_to_a_bucket_and_reads_it_and_its_keys_are_shown_nowhere(cluster, lake, tmp_path):
    job = write_job_file(tmp_path, LAKE, storage=[{"name": "lake", "mount": "/unused"}], arguments=["${storage.lake}"])
    outcome = cluster.cms("submit", "--id=lake-job", job).ok()
    assert outcome.stdout == f"{sum(range(1000))}\n"
    parts = [path for path in (lake.files / "in" / "numbers").iterdir() if path.suffix == ".parquet"]
    assert len(parts) == 3
    outcomes = [
        outcome,
        cluster.cms("storage", "list", "--output=json").ok(),
        cluster.cms("submit", "--dryrun", job).ok(),
        cluster.cms("jobs", "lake-job", "--output=json").ok(),
        cluster.cms("logs", "lake-job").ok(),
    ]
    assert not [shown for shown in outcomes if s3.SECRET_KEY in shown.stdout + shown.stderr]


def test_a_bucket_without_keys_is_refused(cluster):
    outcome = cluster.cms("storage", "add", "--s3=s3a://lake/in", "keyless")
    assert outcome.status == 2
    assert "AWS_ACCESS_KEY_ID" in outcome.stderr
