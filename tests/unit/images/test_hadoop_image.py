"""What the Hadoop image makes of a job's secret and settings, without Hadoop."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from cloudmesh.cluster.images import catalog
from cloudmesh.cluster.spec import hadoop_client

IMAGES = Path(__file__).parents[3] / "cloudmesh" / "images"
PASSWORD = "password"  # noqa: S105 - of the RFC's example


@pytest.fixture(scope="module", autouse=True)
def _path():
    """Let the image's modules be imported as they are there, all in one folder."""
    sys.path[:0] = [str(IMAGES / "hadoop"), str(IMAGES / "spark")]
    yield
    del sys.path[:2]


@pytest.fixture
def kerberos() -> ModuleType:
    import kerberos

    return kerberos


def test_a_key_is_made_from_a_password_as_the_rfc_shows(kerberos):
    salt = bytes.fromhex("10DF9DD783E5BC8ACEA1730E74355F61") + b"ATHENA.MIT.EDUraeburn"
    key = "45BD806DBF6A833A9CFFC1C94589A222367A79BC21C413718906E9F578A78467"
    assert kerberos.key(PASSWORD, salt).hex().upper() == key


def test_a_keytab_holds_the_same_key_for_the_same_secret_and_never_the_secret(kerberos):
    def key(secret: str) -> bytes:
        keytab = kerberos.keytab(secret)
        assert keytab[:2] == b"\x05\x02"
        (length,) = struct.unpack(">i", keytab[2:6])
        assert b"cms" in keytab[6 : 6 + length]
        assert secret.encode() not in keytab
        return keytab[6 + length - 32 : 6 + length]

    assert key("one secret") == key("one secret") != key("another one")


def test_no_web_page_has_a_key_that_anybody_knows(kerberos):
    assert kerberos.keytab("x")[-32:] != kerberos.keytab("x")[-32:]


def test_whoever_is_nobody_is_let_in_nowhere_and_a_job_cannot_change_that():
    import settings

    head = settings.Head("h:1", "h:2", "h:3", "h:4", "h:5", "h:6")
    rules = settings.everywhere(head, "/folder")
    assert rules["hadoop.security.authentication"] == "kerberos"
    assert rules["hadoop.rpc.protection"] == rules["dfs.data.transfer.protection"] == "privacy"
    assert not set(settings.defaults(2)) & set(rules)


def test_what_is_not_for_others_listens_on_loopback_and_all_else_on_a_port_that_is_given():
    import settings

    ports = {"datanode": "1", "blocks": "2", "nodemanager": "3", "shuffle": "4"}
    rules = settings.of_worker("10.0.0.1", ports, "/data", "/folder", 1, 2048)
    rules |= settings.of_head(settings.Head("10.0.0.1:5", "10.0.0.1:6"), "/data", 2)
    listening = {value for name, value in rules.items() if name.endswith("address")}
    assert listening == {"127.0.0.1:0", "10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:5"}


def test_a_worker_without_a_port_for_it_computes_nothing():
    import settings

    rules = settings.of_worker("10.0.0.1", {"datanode": "1", "blocks": "2"}, "/data", "/folder", 1, 768)
    assert not [name for name in rules if name.startswith("yarn.")]


def test_all_of_a_service_and_its_clients_call_its_file_system_by_the_same_name():
    import settings

    head = settings.Head("h:1", "h:2", "h:3", "h:4", "h:5", "h:6")
    assert settings.everywhere(head, "/folder")["fs.defaultFS"] == "hdfs://h:1"
    named = settings.everywhere(head, "/folder", "files")
    assert named["fs.defaultFS"] == "hdfs://files"
    assert named == {**settings.everywhere(head, "/folder"), **hadoop_client.settings("files", "h:1"), **named}


def test_a_client_works_in_a_directory_of_its_own_and_what_it_runs_bears_its_name():
    import settings

    rules = settings.of_client("/jobs/j", "cms-j")
    assert rules["dfs.user.home.dir.prefix"] == rules["yarn.app.mapreduce.am.staging-dir"] == "/jobs/j"
    assert rules["mapreduce.job.tags"] == "cms-j"


def test_settings_survive_the_writing_of_them():
    import settings

    given = {"a.b": "x < y & z", "c": "${env.PORTS}"}
    root = ElementTree.fromstring(settings.document(given))  # noqa: S314 - our own
    assert {entry.findtext("name"): entry.findtext("value") for entry in root} == given


def test_every_jar_is_fetched_by_its_checksum(tmp_path):
    import fetch

    files = {path: digest for digest, path in fetch.locked(IMAGES / "hadoop" / "jars.lock")}
    assert len(files) > 100
    assert all(len(bytes.fromhex(digest)) == 32 for digest in files.values())
    assert {path.rpartition("/")[2] for path in files} >= {"hadoop-hdfs-3.4.2.jar", "hadoop-common-3.4.2.jar"}


def test_a_jar_that_is_another_than_was_locked_is_not_kept(tmp_path):
    import fetch

    (tmp_path / "x.jar").write_bytes(b"something else")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(SystemExit, match=r"x\.jar has the SHA-256"):
        fetch.fetch(tmp_path.as_uri(), "0" * 64, "x.jar", into)
    assert not list(into.iterdir())


def test_the_image_has_all_that_its_programs_import():
    assert {"supervise.py", "hadoop.py", "kerberos.py", "client.py", "programs.py"} <= set(
        catalog.find("hadoop").context()
    )
