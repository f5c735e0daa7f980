"""The layers of images, and the entries about them in manifests and configurations (OCI format, Docker's schema 2)."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from cloudmesh.cluster.core.digests import sha256_of_stream

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
LAYER_OF = {MANIFEST: LAYER, DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar.gzip"}
_LONG_AGO = "1970-01-01T00:00:00Z"
_FASTEST = 1  # binaries shrink to a third at any level; at this one the compressor keeps up with the network


@dataclass(frozen=True)
class Layer:
    """A gzipped tar archive.

    Attributes:
        content: the archive itself, or the path of a file that contains it.
        digest: "sha256:…" of the archive.
        diff_id: "sha256:…" of the uncompressed tar archive.
        size: size of the compressed archive in bytes.
    """

    content: bytes | Path
    digest: str
    diff_id: str
    size: int


def describe_layer(archive: bytes) -> Layer:
    """Return the layer that consists of a gzipped tar archive."""
    with gzip.open(io.BytesIO(archive)) as tar:
        diff_id = sha256_of_stream(tar)
    return Layer(archive, f"sha256:{hashlib.sha256(archive).hexdigest()}", f"sha256:{diff_id}", len(archive))


class _HashingWriter:
    """A file for writing that passes everything on to `target` and computes its SHA-256."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.sha256 = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.sha256.update(block)
        return self._target.write(block)

    def flush(self) -> None:
        self._target.flush()


def pack_program(program: Path, inside: str, target: Path) -> Layer:
    """Write a layer with one executable file, owned by root. The same file always gives the same layer.

    Args:
        program: the executable file.
        inside: absolute path of the program in the image.
        target: file that the layer is written to.
    """
    entry = tarfile.TarInfo(inside.lstrip("/"))
    entry.size, entry.mode = program.stat().st_size, 0o755
    with target.open("wb") as file, program.open("rb") as source:
        packed = _HashingWriter(file)
        with gzip.GzipFile("", "wb", _FASTEST, cast(BinaryIO, packed), mtime=0) as compressor:
            unpacked = _HashingWriter(cast(BinaryIO, compressor))
            with tarfile.open(fileobj=cast(BinaryIO, unpacked), mode="w|", format=tarfile.PAX_FORMAT) as tar:
                tar.addfile(entry, source)
    digest, diff_id = (f"sha256:{writer.sha256.hexdigest()}" for writer in (packed, unpacked))
    return Layer(target, digest, diff_id, target.stat().st_size)


def descriptor(media_type: str, content: bytes | Layer) -> dict[str, Any]:
    """Return the entry of a blob in a manifest: its media type, size and digest."""
    if isinstance(content, Layer):
        return {"mediaType": media_type, "size": content.size, "digest": content.digest}
    return {"mediaType": media_type, "size": len(content), "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}


def empty_config(arch: str) -> dict[str, Any]:
    """Return the configuration of an image without layers, for Linux on `arch`."""
    return {
        "architecture": arch,
        "os": "linux",
        "created": _LONG_AGO,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [],
    }


def with_layer(config: Mapping[str, Any], above: Layer, command: str) -> dict[str, Any]:
    """Return an image's configuration with one more layer. The same arguments always give the same configuration.

    Args:
        config: the configuration of the image without the layer.
        above: the layer.
        command: the command that the image's history names as the origin of the layer.
    """
    rootfs = config["rootfs"]
    result = {**config, "rootfs": {**rootfs, "diff_ids": [*rootfs["diff_ids"], above.diff_id]}}
    if "history" in config:  # where an image has a history, Docker requires an entry for each layer
        entry = {"created": config.get("created", _LONG_AGO), "created_by": command}
        result["history"] = [*config["history"], entry]
    return result
