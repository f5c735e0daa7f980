"""What a job gets of the volumes that it names, and which volumes may be made at all."""

from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import NotFoundError, UsageError
from cloudmesh.cluster.core.model import Volume
from cloudmesh.cluster.providers.base import Mount
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.hadoop import HadoopJob, HadoopService
from cloudmesh.cluster.spec.job import VolumeClaim
from cloudmesh.cluster.spec.spark import SparkJob
from cloudmesh.cluster.storage import resolve, volume_spec

KEYS = {"access_key": "AK", "secret_key": "very-secret"}
DATA = Volume("data", "directory", {"path": "/srv/data"})
EXPORT = Volume("shared-1", "nfs", {"server": "nas", "path": "/export"})
BUCKET = volume_spec.s3("lake", "s3a://lake/in", KEYS, endpoint="http://nas:9000", region="", path_style=True)
CLIENT = "spark.hadoop.fs.s3a.bucket.lake"


def s3(name: str, url: str, keys: dict[str, str] = KEYS, endpoint: str = "") -> Volume:
    return volume_spec.s3(name, url, keys, endpoint=endpoint, region="", path_style=False)


def job(*names: str, read_only: bool = False, **fields: object) -> SparkJob:
    claims = tuple(VolumeClaim(name, f"/mnt/{name}", read_only) for name in names)
    return SparkJob(**{"name": "j", "main": Path("x.py"), "storage": claims, **fields})


def test_directories_and_exports_are_mounted_and_known_by_their_uri():
    resolved = resolve.resolve(job("data", "shared-1", read_only=True), [DATA, EXPORT])
    assert resolved.volumes == (Mount("data", "/mnt/data", True), Mount("shared-1", "/mnt/shared-1", True))
    assert resolved.env == {"CMS_STORAGE_DATA": "file:///mnt/data", "CMS_STORAGE_SHARED_1": "file:///mnt/shared-1"}
    assert resolved.notes == ()


def test_the_keys_of_a_bucket_are_secrets_and_in_nothing_else():
    resolved = resolve.resolve(job("lake"), [BUCKET])
    assert resolved.secrets == {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    assert resolved.env == {"CMS_STORAGE_LAKE": "s3a://lake/in"}
    assert "very-secret" not in repr(resolved)
    assert resolved.job.spark_conf[f"{CLIENT}.endpoint"] == "http://nas:9000"
    assert resolved.job.spark_conf[f"{CLIENT}.path.style.access"] == "true"
    assert "EnvironmentVariable" in resolved.job.spark_conf[f"{CLIENT}.aws.credentials.provider"]
    assert "very-secret" not in str(resolved.job)


def test_references_stand_for_the_uri_wherever_a_job_may_say_them():
    unresolved = job("lake", arguments=("${storage.lake}/a", "$${storage.lake}"), env={"IN": "x=${storage.lake}"})
    resolved_job = resolve.resolve(unresolved, [BUCKET]).job
    assert resolved_job.arguments == ("s3a://lake/in/a", "${storage.lake}")
    assert resolved_job.env == {"IN": "x=s3a://lake/in", "CMS_STORAGE_LAKE": "s3a://lake/in"}


def test_a_jobs_own_spark_properties_go_before_those_of_its_volumes():
    resolved = resolve.resolve(job("lake", spark_conf={f"{CLIENT}.endpoint": "http://other"}), [BUCKET])
    assert resolved.job.spark_conf[f"{CLIENT}.endpoint"] == "http://other"


def test_a_job_of_another_kind_gets_no_spark_properties():
    container_job = ContainerJob(
        name="j", image="x", arguments=("${storage.lake}",), storage=(VolumeClaim("lake", "/x"),)
    )
    assert resolve.resolve(container_job, [BUCKET]).job.arguments == ("s3a://lake/in",)


def test_an_unknown_volume_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(NotFoundError, match="storage nope: the cluster has no such place, it has data, lake"):
        resolve.resolve(job("nope"), [BUCKET, DATA])


def test_a_reference_to_a_volume_that_the_job_does_not_list_is_refused():
    with pytest.raises(UsageError, match=r"spec\.storage"):
        resolve.resolve(job("data", arguments=("${storage.lake}",)), [BUCKET, DATA])


def test_two_buckets_may_share_keys_and_not_have_two_of_them():
    same = [s3("a", "s3a://one/x"), s3("b", "s3a://two")]
    assert set(resolve.resolve(job("a", "b"), same).env.values()) == {"s3a://one/x", "s3a://two"}
    with pytest.raises(UsageError, match="storage a and b have different keys: a job can use one of them"):
        resolve.resolve(job("a", "b"), [same[0], s3("b", "s3a://two", {**KEYS, "access_key": "other"})])


def test_two_endpoints_of_one_bucket_cannot_be_told_apart_and_are_refused():
    with pytest.raises(UsageError, match="different Spark properties"):
        resolve.resolve(
            job("a", "b"), [s3("a", "s3a://lake/1", endpoint="http://a"), s3("b", "s3a://lake/2", endpoint="http://b")]
        )


def test_what_cannot_be_made_read_only_is_said():
    (note,) = resolve.resolve(job("lake", read_only=True), [BUCKET]).notes
    assert "readOnly cannot be enforced for s3" in note


@pytest.mark.parametrize("path", ["/srv/data", "/data", "/home/a/b", "/mnt/x", "/var/lib/mine", "/tmp/x"])
def test_directories_of_the_users_own_may_be_volumes(path):
    assert volume_spec.directory("d", path).settings == {"path": path}


SYSTEM = [
    *("/", "//", "/etc", "/etc/x", "/var", "/var/lib", "/var/lib/cloudmesh", "/var/lib/cloudmesh/x"),
    *("/proc/1", "/tmp", "/sys", "/dev/shm", "/usr/local"),
]
NO_PATHS = ("srv", "", "/srv/../etc", "/srv/a b", "/srv/a\nb", "/srv/$(id)", "/srv/%i")


@pytest.mark.parametrize("path", [*SYSTEM, *NO_PATHS])
def test_what_is_the_systems_or_ours_or_no_path_is_refused(path):
    with pytest.raises(UsageError):
        volume_spec.directory("d", path)


@pytest.mark.parametrize("path", ["/srv//data/", "/srv/./data", "//srv/data"])
def test_a_path_has_one_form(path):
    assert volume_spec.directory("d", path).settings == {"path": "/srv/data"}


def test_exports_are_a_server_and_an_absolute_path():
    assert volume_spec.nfs("d", "nas.example:/export/a/").settings == {"server": "nas.example", "path": "/export/a"}
    assert volume_spec.nfs("d", "[fd00::1]:/export").settings["server"] == "[fd00::1]"
    for export in ("nas", "nas:export", ":/x", "nas:/a b", "-o:/x", "nas:/../x", "na s:/x"):
        with pytest.raises(UsageError):
            volume_spec.nfs("d", export)


@pytest.mark.parametrize("url", ["lake", "http://lake/x", "s3a://", "s3a://UPPER/x", "s3a://lake/a b", "s3a://a@b/x"])
def test_what_is_no_bucket_is_refused(url):
    with pytest.raises(UsageError):
        s3("lake", url)


def test_a_hadoop_service_is_named_by_its_job():
    assert volume_spec.hadoop("h", "files/in/x").settings == {"service": "files", "path": "/in/x"}
    for service in ("", "a/../b", "UPPER/x", "../x"):
        with pytest.raises(UsageError):
            volume_spec.hadoop("h", service)


def test_a_hadoop_service_is_reached_where_it_runs_now_and_its_secret_is_in_nothing_else():
    volume = Volume("files", "hadoop", {"service": "fs", "path": "/in"}, {"secret": "very-secret"})
    resolved = resolve.resolve(job("files"), [volume], lambda job_id, port: f"{job_id}.host:{len(port)}")
    assert resolved.env["CMS_STORAGE_FILES"] == "hdfs://fs/in"
    assert "fs.host:3" in resolved.env.values()  # the KDC
    assert "fs.host:8" in resolved.job.spark_conf.values()  # the NameNode
    assert list(resolved.secrets.values()) == ["very-secret"]
    assert "very-secret" not in repr(resolved)


def test_a_command_may_refer_to_storage_as_arguments_do():
    job = ContainerJob("c", image="i", command=("ls", "${storage.data}"), storage=(VolumeClaim("data", "/data"),))
    resolved = resolve.resolve(job, [Volume("data", "directory", {"path": "/srv"})])
    assert resolved.job.command == ("ls", "file:///data")


FILES = Volume("lake", "hadoop", {"service": "hdfs", "path": "/in"}, {"secret": "very-secret"})


def test_a_hadoop_job_runs_in_the_service_whose_volume_it_names():
    job = HadoopJob(
        "h", jar_in_image="/x.jar", arguments=("${storage.lake}/a",), storage=(VolumeClaim("lake", "/lake"),)
    )
    resolved = resolve.resolve(job, [FILES], lambda job_id, port: f"{job_id}.host:{len(port)}")
    assert resolved.job.arguments == ("hdfs://hdfs/in/a",)
    assert "hdfs.host:15" in resolved.job.env["CMS_HADOOP_HEAD"]  # the ResourceManager
    assert [group.name for group in resolved.job.layout().groups] == ["client"]
    assert list(resolved.secrets.values()) == ["very-secret"]
    assert "very-secret" not in repr(resolved)


def test_it_is_told_that_what_a_job_on_a_service_mounts_is_not_where_its_tasks_are():
    job = HadoopJob("h", jar_in_image="/x.jar", storage=(VolumeClaim("lake", "/lake"), VolumeClaim("data", "/data")))
    (note,) = resolve.resolve(job, [FILES, DATA], lambda *_: "h:1").notes
    assert note.startswith("storage data: the job's tasks run in the service")
    alone = HadoopJob("h", jar_in_image="/x.jar", storage=(VolumeClaim("data", "/data"),))
    assert resolve.resolve(alone, [DATA]).notes == ()


def test_a_service_cannot_keep_its_data_in_another_ones_file_system():
    job = HadoopService("h", storage=(VolumeClaim("lake", "/lake"),))
    with pytest.raises(UsageError, match="file system and Kerberos of its own"):
        resolve.resolve(job, [FILES], lambda *_: "h:1")
