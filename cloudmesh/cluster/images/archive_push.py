"""Pushes an image as a Docker daemon exports it, for a daemon on another machine, which cannot reach the registry."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.images import layers
from cloudmesh.cluster.images.registry import Registry

_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = layers.LAYER_OF[layers.DOCKER_MANIFEST]
_GZIP = b"\x1f\x8b"
_LEVEL = 3  # nearly as small as at higher levels, and as fast as most networks
_BLOCK = 1 << 20


def push_archive(
    archive: Iterable[bytes], tag: str, registry: Registry, repository: str, version: str, report: Report
) -> None:
    """Push an image.

    Args:
        archive: what `docker save` gives for it, in pieces.
        tag: what the image is called in messages.
        registry: where it goes.
        repository: that it gets there.
        version: its tag there.
        report: where progress is reported.

    Raises:
        ImageError: the archive is no image, there is no room for it here, or the registry refuses it.
    """
    try:
        with TemporaryDirectory(prefix="cms-image-") as folder:
            file = Path(folder, "image.tar")
            report.step(tag, "fetch it from the Docker engine")
            with file.open("wb") as target:
                for piece in archive:
                    target.write(piece)
            with tarfile.open(file) as image:
                _push(image, Path(folder, "layer"), tag, registry, repository, version, report)
    except (tarfile.TarError, KeyError, ValueError, IndexError) as error:
        raise ImageError(
            f"image {tag} could not be pushed: the Docker engine's export makes no sense: {error}"
        ) from error
    except OSError as error:
        raise ImageError(f"image {tag} could not be pushed: no file could be written here: {error.strerror}") from error


def _push(
    image: tarfile.TarFile,
    scratch: Path,
    tag: str,
    registry: Registry,
    repository: str,
    version: str,
    report: Report,
) -> None:
    """Push the image in an archive; `scratch` is a file that may be written."""
    described: dict[str, Any] = json.load(_open(image, "manifest.json"))[0]
    config = _open(image, described["Config"]).read()
    entries = []
    for number, name in enumerate(described["Layers"], 1):
        report.step(tag, f"push layer {number} of {len(described['Layers'])}")
        entries.append(_push_layer(_open(image, name), scratch, registry, repository))
    registry.put_blob(repository, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": layers.DOCKER_MANIFEST,
        "config": layers.descriptor(_CONFIG, config),
        "layers": entries,
    }
    registry.put_manifest(repository, version, json.dumps(manifest).encode(), layers.DOCKER_MANIFEST)


def _push_layer(layer: IO[bytes], scratch: Path, registry: Registry, repository: str) -> dict[str, Any]:
    """Push one layer, compressed; return its entry in the manifest. The same layer always gives the same blob."""
    is_compressed = layer.read(len(_GZIP)) == _GZIP
    layer.seek(0)
    with scratch.open("wb") as target:
        if is_compressed:
            shutil.copyfileobj(layer, target, _BLOCK)
        else:
            with gzip.GzipFile("", "wb", _LEVEL, target, mtime=0) as compressor:
                shutil.copyfileobj(layer, compressor, _BLOCK)
    digest = registry.put_blob(repository, scratch)
    return {"mediaType": _LAYER, "size": scratch.stat().st_size, "digest": digest}


def _open(image: tarfile.TarFile, name: str) -> IO[bytes]:
    file = image.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file
