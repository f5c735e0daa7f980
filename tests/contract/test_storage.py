"""Places for data, as every provider promises them; only the provider's name differs between the runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import s3

from contract import test_containers as containers
from contract.conftest import Cluster, hosts, on_all
from contract.test_jobs import job_file, until

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


def alike(cluster: Cluster, script: str) -> tuple[int, str]:
    """Run a script on every host; return status and output, which are the same on all."""
    (answer,) = set(on_all(cluster, script))
    return answer


def listed(cluster: Cluster) -> dict[str, dict]:
    """Return the places that the cluster tells, by name."""
    return {each["name"]: each for each in cluster.cms("storage", "list", "--output=json").json()}


@pytest.fixture(scope="module")
def data(cluster: Cluster) -> Iterator[str]:
    """Yield the name of a place that is a directory, on every host its own."""
    cluster.cms("storage", "add", f"--directory={DIRECTORY}", "data").ok()
    yield "data"
    cluster.cms("storage", "remove", "--yes", "data").ok()


def test_a_place_is_on_every_host_and_the_same_again_changes_nothing(cluster, data):
    cluster.cms("storage", "add", f"--directory={DIRECTORY}", data).ok()
    assert listed(cluster)[data]["source"] == DIRECTORY
    assert alike(cluster, f"stat -c %a {DIRECTORY}") == (0, "1777\n")


def test_another_place_of_the_same_name_is_refused(cluster, data):
    outcome = cluster.cms("storage", "add", "--directory=/srv/other", data)
    assert outcome.status == 1
    assert DIRECTORY in outcome.stderr
    assert alike(cluster, "test -e /srv/other") == (1, "")


def test_what_one_job_has_written_another_reads_and_may_not_write_where_it_asked_not_to(cluster, data, tmp_path):
    asked = {"name": data, "mount": "/mnt/data"}
    job = job_file(tmp_path, WRITE, storage=[asked], arguments=["${storage.data}"])
    cluster.cms("submit", job).ok()
    found = on_all(cluster, f"cat {DIRECTORY}/words")
    assert sorted(found)[0] == (0, "written by a job")
    # as a file system that the hosts share would show it
    on_all(cluster, f"[ -e {DIRECTORY}/words ] || printf 'written by a job' >{DIRECTORY}/words")
    outcome = cluster.cms("submit", job_file(tmp_path, READ, storage=[{**asked, "readOnly": True}])).ok()
    assert outcome.stdout.split("\n")[:2] == ["written by a job", "EROFS"]


def test_a_place_that_jobs_have_used_can_be_taken_away_and_made_again(cluster, tmp_path):
    job = job_file(tmp_path, "print(open('/mnt/again').readable())", storage=[{"name": "again", "mount": "/mnt"}])
    for _ in range(2):
        cluster.cms("storage", "add", "--directory=/srv/cms-again", "again").ok()
        on_all(cluster, "echo here >/srv/cms-again/again")
        assert cluster.cms("submit", job).ok().stdout == "True\n"
        cluster.cms("storage", "remove", "--yes", "again").ok()
    on_all(cluster, "rm -rf /srv/cms-again")


def test_a_place_is_not_taken_from_a_job_that_goes_on_though_it_uses_no_more_than_its_uri(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "used")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "used")
    cluster.cms("storage", "add", "--directory=/srv/cms-used", "used-disk").ok()
    cluster.cms("storage", "add", "--s3=s3a://used/in", "used-bucket").ok()
    places = ["used-disk", "used-bucket"]
    storage = [{"name": place, "mount": f"/mnt/{place}"} for place in places]
    ends_when_told = "trap exit TERM; sleep 600 & wait"
    file = containers.job_file(tmp_path, command=["sh", "-c", ends_when_told], storage=storage)
    cluster.cms("submit", "--detach", "--id=user-of-places", file).ok()
    for place in places:
        refused = cluster.cms("storage", "remove", "--yes", place)
        assert refused.status == 1
        (line,) = (line for line in refused.stderr.splitlines() if line.startswith("ERROR"))
        assert f"storage {place} is in use by job user-of-places" in line
    assert set(places) <= set(listed(cluster))
    cluster.cms("stop", "user-of-places").ok()
    for place in places:
        until(lambda place=place: cluster.cms("storage", "remove", "--yes", place).status == 0, 60, "it is removed")
    assert not set(places) & set(listed(cluster))


def test_a_job_that_names_a_place_that_is_not_there_is_refused_before_anything_is_sent(cluster, data, tmp_path):
    outcome = cluster.cms("submit", job_file(tmp_path, READ, storage=[{"name": "nowhere", "mount": "/x"}]))
    assert outcome.status == 3
    assert "nowhere" in outcome.stderr
    assert data in outcome.stderr


def test_a_place_that_is_removed_keeps_its_data_and_one_without_goes_where_it_was_made(cluster):
    for name in ("kept", "empty"):
        cluster.cms("storage", "add", f"--directory=/srv/cms-{name}/a", name).ok()
    on_all(cluster, "echo mine >/srv/cms-kept/a/file")
    for name in ("kept", "empty"):
        cluster.cms("storage", "remove", "--yes", name).ok()
    assert not {"kept", "empty"} & set(listed(cluster))
    assert alike(cluster, "cat /srv/cms-kept/a/file; test -e /srv/cms-empty") == (1, "mine\n")
    assert cluster.cms("storage", "remove", "--yes", "kept").status == 3


def test_a_path_that_leads_into_the_system_is_refused_by_the_hosts(cluster):
    on_all(cluster, "ln -sfn /etc /srv/cms-link")
    outcome = cluster.cms("storage", "add", "--directory=/srv/cms-link/x", "link")
    assert outcome.status == 1
    assert "leads to /etc/x" in outcome.stderr
    assert "link" not in listed(cluster)
    assert alike(cluster, "test -e /etc/x") == (1, "")


@pytest.fixture
def lake(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Bucket]:
    """Yield a bucket that the cluster knows as the place "lake"."""
    networks = hosts(cluster)[0].attrs["NetworkSettings"]["Networks"].values()
    address = next(network["Gateway"] for network in networks)
    with s3.bucket(tmp_path, address) as bucket:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET_KEY)
        place = [f"--s3=s3a://{bucket.name}/in", f"--endpoint={bucket.endpoint}", "--path-style", "lake"]
        cluster.cms("storage", "add", *place).ok()
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        yield bucket
        cluster.cms("storage", "remove", "--yes", "lake").ok()


def test_spark_writes_to_a_bucket_and_reads_it_and_its_keys_are_shown_nowhere(cluster, lake, tmp_path):
    job = job_file(tmp_path, LAKE, storage=[{"name": "lake", "mount": "/unused"}], arguments=["${storage.lake}"])
    outcome = cluster.cms("submit", "--id=lake-job", job).ok()
    assert outcome.stdout == f"{sum(range(1000))}\n"
    parts = [path for path in (lake.files / "in" / "numbers").iterdir() if path.suffix == ".parquet"]
    assert len(parts) == 3
    shown = [
        outcome,
        cluster.cms("storage", "list", "--output=json").ok(),
        cluster.cms("submit", "--dryrun", job).ok(),
        cluster.cms("jobs", "lake-job", "--output=json").ok(),
        cluster.cms("logs", "lake-job").ok(),
    ]
    assert not [each for each in shown if s3.SECRET_KEY in each.stdout + each.stderr]


def test_a_bucket_without_keys_is_refused(cluster):
    outcome = cluster.cms("storage", "add", "--s3=s3a://lake/in", "keyless")
    assert outcome.status == 2
    assert "AWS_ACCESS_KEY_ID" in outcome.stderr
