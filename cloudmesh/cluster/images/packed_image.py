"""An image as a registry takes it: a folder with its manifest, and its configuration and compressed layers by digest.

A Docker daemon that pushes an image compresses its layers each time, and one on another machine does not reach the
registry. So it is asked for the image as `docker save` gives it. The folders of our own images stay in the user's
cache, as they are pushed to each new cluster.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cloudmesh.cluster.core.digests import sha256_of_stream
from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.core.user_cache import cache_directory, describe_unwritable, make_alone
from cloudmesh.cluster.images import layers
from cloudmesh.cluster.images.registry import Registry

_MANIFEST, _ARCHIVE = "manifest.json", "image.tar"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = layers.LAYER_OF[layers.DOCKER_MANIFEST]
_GZIP = b"\x1f\x8b"
_LEVEL = 3  # nearly as small as at higher levels, and as fast as most networks
_BLOCK = 1 << 20
_AT_ONCE = 4  # layers that are compressed at the same time
_KEPT = 2  # folders of an image in the cache: that of the version before, too
_DIGITS = 16
_MB = 1_000_000


def pack(archive: Iterable[bytes], folder: Path, tag: str) -> None:
    """Make the folder of an image.

    Args:
        archive: what `docker save` gives for it, in pieces.
        folder: an empty one.
        tag: what the image is called in messages.

    Raises:
        ImageError: the archive is no image.
        OSError: there is no room for it.
    """
    file = folder / _ARCHIVE
    with file.open("wb") as target:
        for piece in archive:
            target.write(piece)
    try:
        with tarfile.open(file) as image:
            described: dict[str, Any] = json.load(_open(image, "manifest.json"))[0]
            config = _open(image, described["Config"]).read()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            entries = list(pool.map(lambda name: _pack_layer(file, name, folder), dict.fromkeys(described["Layers"])))
        by_name = dict(zip(dict.fromkeys(described["Layers"]), entries, strict=True))
    except (tarfile.TarError, KeyError, ValueError, IndexError) as error:
        raise ImageError(
            f"image {tag} could not be pushed: the Docker engine's export makes no sense: {error}"
        ) from error
    file.unlink()
    config_entry = dict(layers.descriptor(_CONFIG, config))
    _blob(folder, config_entry).write_bytes(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": layers.DOCKER_MANIFEST,
        "config": config_entry,
        "layers": [by_name[name] for name in described["Layers"]],
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest))


def push_folder(folder: Path, registry: Registry, repository: str, version: str, report: Callable[[str], None]) -> None:
    """Push the image in a folder.

    Args:
        folder: as `pack` has made it.
        registry: where the image goes.
        repository: that it gets there.
        version: its tag there.
        report: is told in words what is done now.

    Raises:
        ImageError: the folder was damaged, and has been removed; or the registry refuses the image.
    """
    manifest = (folder / _MANIFEST).read_bytes()
    described = json.loads(manifest)
    count = len(described["layers"])
    for number, entry in enumerate([*described["layers"], described["config"]], 1):
        if number <= count:
            report(f"push layer {number} of {count}, {max(1, round(entry['size'] / _MB))} MB")
        if registry.put_blob(repository, _blob(folder, entry)) != entry["digest"]:
            shutil.rmtree(folder)
            raise ImageError(f"{folder} was damaged, and has been removed: run the same command again")
    registry.put_manifest(repository, version, manifest, layers.DOCKER_MANIFEST)


@contextmanager
def open_cached(
    repository: str, image_id: str, make: Callable[[Path], None], tell_waiting: Callable[[], None]
) -> Iterator[Path]:
    """Yield the folder of an image in the cache, which nobody removes until the block ends.

    Args:
        repository: the image's: "cloudmesh/spark".
        image_id: "sha256:…" of its configuration.
        make: makes it in an empty folder, where it is missing.
        tell_waiting: is called where another command has to be waited for that is making one.

    Raises:
        ImageError: the cache cannot be written to; or the one that `make` raised.
    """
    name = repository.replace("/", "-")
    home = cache_directory() / "images" / name
    folder = home / image_id.removeprefix("sha256:")[:_DIGITS]
    with make_alone(f"packed-{name}", tell_waiting):
        if not folder.exists():
            try:
                _make(folder, make)
            except OSError as error:
                raise ImageError(describe_unwritable(error)) from error
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield folder
    finally:
        os.close(descriptor)


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder as a whole, and remove those that are too many and that nobody uses."""
    half = folder.with_name(".new")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    older = sorted(folder.parent.glob("[!.]*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in older[_KEPT - 1 :]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        except BlockingIOError:
            pass  # another command is pushing it
        finally:
            os.close(descriptor)
    make(half)
    half.rename(folder)


def _pack_layer(archive: Path, name: str, folder: Path) -> dict[str, Any]:
    """Compress one layer; return its entry in the manifest. The same layer always gives the same blob."""
    half = folder / f"{name.replace('/', '-')}.part"
    with tarfile.open(archive) as image, half.open("wb") as target:
        layer = _open(image, name)
        is_compressed = layer.read(len(_GZIP)) == _GZIP
        layer.seek(0)
        if is_compressed:
            shutil.copyfileobj(layer, target, _BLOCK)
        else:
            with gzip.GzipFile("", "wb", _LEVEL, target, mtime=0) as compressor:
                shutil.copyfileobj(layer, compressor, _BLOCK)
    with half.open("rb") as packed:
        entry = {
            "mediaType": _LAYER,
            "size": half.stat().st_size,
            "digest": f"sha256:{sha256_of_stream(packed)}",
        }
    half.rename(_blob(folder, entry))
    return entry


def _blob(folder: Path, entry: dict[str, Any]) -> Path:
    """Return the file that an entry of the manifest is about."""
    return folder / str(entry["digest"]).removeprefix("sha256:")


def _open(image: tarfile.TarFile, name: str) -> IO[bytes]:
    file = image.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file
