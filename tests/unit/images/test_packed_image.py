"""An image that a Docker daemon exports reaches the registry, in any form of the export; ours go by the cache."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.registry import BINARY, RegistryProcess

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.images import packed_image
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
    with TemporaryDirectory() as folder:
        packed_image.pack(export(files), Path(folder), "t:1")
        packed_image.push_folder(Path(folder), registry, "team/t", "1", lambda _: None)


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


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CLOUDMESH_CLUSTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images" / "team-t"


def make(folder: Path, content: bytes = LAYER) -> None:
    files = {"a/layer.tar": content, "config.json": CONFIG, "manifest.json": describe("a/layer.tar")}
    packed_image.pack(export(files), folder, "t:1")


def open_cached(image_id: str, make: Callable[[Path], None]) -> AbstractContextManager[Path]:
    return packed_image.open_cached("team/t", f"sha256:{image_id * 64}", make, lambda: None)


def test_an_image_in_the_cache_is_not_made_again_and_one_half_made_is(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ImageError("cut off")

    with pytest.raises(ImageError, match="cut off"), open_cached("1", fail):
        pass
    with open_cached("1", make) as folder:
        assert {file.name for file in folder.iterdir()} >= {"manifest.json"}
    with open_cached("1", fail) as again:
        assert again == folder


def test_of_an_image_the_last_two_are_kept_and_those_in_use(cache: Path) -> None:
    with open_cached("1", make) as used:
        for image_id in "234":
            with open_cached(image_id, make):
                pass
        assert {folder.name[0] for folder in cache.glob("[!.]*")} == {"1", "3", "4"}
        assert used.exists()
    with open_cached("5", make):
        pass
    assert {folder.name[0] for folder in cache.glob("[!.]*")} == {"4", "5"}


@needs_registry
def test_a_damaged_image_in_the_cache_is_removed_and_not_pushed(registry: Registry, cache: Path) -> None:
    with open_cached("1", make) as folder:
        layer = next(file for file in folder.iterdir() if file.name != "manifest.json")
        layer.write_bytes(b"damaged")
        with pytest.raises(ImageError, match="was damaged, and has been removed: run the same command again"):
            packed_image.push_folder(folder, registry, "team/t", "1", lambda _: None)
    assert not registry.has_manifest("team/t", "1")
    with open_cached("1", make) as folder:
        packed_image.push_folder(folder, registry, "team/t", "1", lambda _: None)
    assert registry.has_manifest("team/t", "1")


def test_a_cache_without_room_is_told(cache: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ImageError, match=r"No space left on device; make room or set CLOUDMESH_CLUSTER_CACHE"):
        open_cached("1", fail).__enter__()
