"""An image that a Docker daemon elsewhere exports reaches the registry from here, in any form of the export."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.registry import BINARY, RegistryProcess

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.images.archive_push import push_archive
from cloudmesh.cluster.images.registry import Registry

LAYER = b"a layer" * 1000
CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
needs_registry = pytest.mark.skipif(not BINARY, reason="docker-registry is not installed")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with RegistryProcess(tmp_path) as process:
        yield Registry(process.port)


def export(files: dict[str, bytes | str]) -> Iterator[bytes]:
    """Yield the pieces of a tar archive of files, and of symbolic links where the content is a text."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    data = buffer.getvalue()
    yield from (data[at : at + 700] for at in range(0, len(data), 700))


def describe(*layers: str) -> bytes:
    return json.dumps([{"Config": "config.json", "RepoTags": ["t:1"], "Layers": list(layers)}]).encode()


def push(registry: Registry, files: dict[str, bytes | str]) -> None:
    push_archive(export(files), "t:1", registry, "team/t", "1", Silence())


@needs_registry
def test_an_export_of_tar_archives_is_pushed_compressed_and_links_are_followed(registry: Registry) -> None:
    files = {"a/layer.tar": LAYER, "b/layer.tar": "../a/layer.tar", "config.json": CONFIG}
    push(registry, {**files, "manifest.json": describe("a/layer.tar", "b/layer.tar")})
    media_type, manifest = registry._read_manifest("team/t", "1")
    assert media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest["config"]["digest"] == f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    first, second = manifest["layers"]
    assert first == second
    stored = registry._ask("GET", f"/v2/team/t/blobs/{first['digest']}").content
    assert (gzip.decompress(stored), len(stored)) == (LAYER, first["size"])


@needs_registry
def test_layers_that_are_compressed_in_the_export_stay_as_they_are(registry: Registry) -> None:
    packed = gzip.compress(LAYER, mtime=0)
    name = f"blobs/sha256/{hashlib.sha256(packed).hexdigest()}"
    push(registry, {name: packed, "config.json": CONFIG, "manifest.json": describe(name)})
    _, manifest = registry._read_manifest("team/t", "1")
    assert manifest["layers"][0]["digest"] == f"sha256:{hashlib.sha256(packed).hexdigest()}"


@needs_registry
@pytest.mark.parametrize("files", [{}, {"manifest.json": b"[]"}, {"manifest.json": describe("gone")}])
def test_an_export_that_makes_no_sense_is_told(registry: Registry, files: dict[str, bytes | str]) -> None:
    with pytest.raises(ImageError, match="image t:1 could not be pushed: the Docker engine's export makes no sense"):
        push(registry, files)
    assert not registry.has_manifest("team/t", "1")


@pytest.mark.parametrize(
    ("where", "system", "shares"),
    [
        ("", "Debian GNU/Linux 13", True),
        ("unix:///run/user/1000/docker.sock", "Ubuntu", True),
        ("unix:///home/me/.docker/desktop/docker.sock", "Docker Desktop", False),
        ("ssh://build@far", "Ubuntu", False),
        ("tcp://127.0.0.1:2375", "Ubuntu", False),
    ],
)
def test_a_daemon_elsewhere_does_not_see_our_ports(
    monkeypatch: pytest.MonkeyPatch, where: str, system: str, shares: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", where)
    monkeypatch.setattr("sys.platform", "linux")
    client = SimpleNamespace(info=lambda: {"OperatingSystem": system})
    assert docker_client.shares_loopback(cast(Any, client)) is shares
