"""The names of our images, and what goes into their builds."""

import io
import re
import tarfile

import pytest

from cloudmesh.cluster.core.errors import NotFoundError
from cloudmesh.cluster.images import build, catalog

FILES = {"Dockerfile": b"FROM scratch\n", "run.sh": b"#!/bin/sh\n"}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    current = dict(FILES)
    monkeypatch.setattr(catalog.Image, "context", lambda _: current)
    return current


def test_a_tag_names_software_version_and_content():
    assert re.fullmatch(r"cloudmesh/spark:4\.0\.1-[0-9a-f]{12}", catalog.tag("spark"))


def test_the_same_content_has_the_same_tag(files):
    before = catalog.tag("spark")
    files.update(FILES)
    assert catalog.tag("spark") == before


@pytest.mark.parametrize("change", [{"run.sh": b"#!/bin/sh\ntrue\n"}, {"more": b""}, {"Dockerfile": b""}])
def test_any_change_of_the_content_changes_the_tag(files, change):
    before = catalog.tag("spark")
    files.update(change)
    assert catalog.tag("spark") != before


def test_another_base_changes_the_tag():
    assert (
        len({catalog.tag("spark"), catalog.tag("spark", "debian:12-slim"), catalog.tag("spark", "debian:13-slim")}) == 3
    )


def test_an_image_that_is_none_of_ours_is_not_found():
    with pytest.raises(NotFoundError, match="spark"):
        catalog.tag("../spark")


@pytest.mark.parametrize("image", ["spark", "cloudmesh"])
def test_pip_is_given_hashes_for_every_package(image):
    lines = catalog.find(image).context()["requirements.txt"].decode().replace("\\\n", "").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert packages
    assert all(
        re.fullmatch(r"[a-z0-9-]+==[0-9.]+(?:post[0-9]+)?( +--hash=sha256:[0-9a-f]{64})+", line) for line in packages
    )


def unpacked(archive: bytes) -> dict[str, tuple[int, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {entry.name: (entry.mode, tar.extractfile(entry).read()) for entry in tar}


def test_the_build_gets_its_files_and_the_certificate_authorities():
    assert unpacked(build.pack_context(FILES, b"PEM")) == {
        "Dockerfile": (0o644, FILES["Dockerfile"]),
        "run.sh": (0o755, FILES["run.sh"]),
        "ca-bundle.pem": (0o644, b"PEM"),
    }


def test_without_certificate_authorities_there_is_no_empty_file_of_them():
    assert set(unpacked(build.pack_context(FILES, b""))) == set(FILES)


def test_the_image_of_cloudmesh_has_the_plugin_in_it_and_nothing_that_python_left_there():
    context = catalog.find("cloudmesh").context()
    for part in (
        "cluster/command/cluster.py",
        "cluster/jobs/service.py",
        "images/nomad/build.sh",
        "images/spark/Dockerfile",
    ):
        assert context[f"plugin/cloudmesh/{part}"]
    assert not [name for name in context if "__pycache__" in name or name.endswith(".pyc")]
    assert "plugin/cloudmesh/__init__.py" not in context
