"""Layers, and what manifests and configurations of images say about them (OCI image format, Docker's schema 2)."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

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
_FASTEST = 1  # binaries become a third at any level, and at this one the compressor keeps up with the network
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A gzipped tar archive.

    Attributes:
        content: the archive, or a file that is one.
        digest: "sha256:…" of it.
        diff_id: "sha256:…" of what it unpacks to.
        size: in bytes.
    """

    content: bytes | Path
    digest: str
    diff_id: str
    size: int


def describe_layer(archive: bytes) -> Layer:
    """Describe a gzipped tar archive."""
    with gzip.open(io.BytesIO(archive)) as tar:
        diff_id = sha256(cast(BinaryIO, tar))
    return Layer(archive, f"sha256:{hashlib.sha256(archive).hexdigest()}", f"sha256:{diff_id}", len(archive))


class _Hashing:
    """Writes on what it is given, and hashes it."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.sha256 = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.sha256.update(block)
        return self._target.write(block)

    def flush(self) -> None:
        self._target.flush()


def pack_program(program: Path, inside: str, target: Path) -> Layer:
    """Make a layer of one executable file, owned by root; the same for the same file, whenever it is made.

    Args:
        program: the file.
        inside: its absolute path in the image.
        target: the file to write the layer to.
    """
    entry = tarfile.TarInfo(inside.lstrip("/"))
    entry.size, entry.mode = program.stat().st_size, 0o755
    with target.open("wb") as file, program.open("rb") as source:
        packed = _Hashing(file)
        with gzip.GzipFile("", "wb", _FASTEST, cast(BinaryIO, packed), mtime=0) as compressor:
            unpacked = _Hashing(cast(BinaryIO, compressor))
            with tarfile.open(fileobj=cast(BinaryIO, unpacked), mode="w|", format=tarfile.PAX_FORMAT) as tar:
                tar.addfile(entry, source)
    digest, diff_id = (f"sha256:{one.sha256.hexdigest()}" for one in (packed, unpacked))
    return Layer(target, digest, diff_id, target.stat().st_size)


def sha256(stream: BinaryIO) -> str:
    """Return the SHA-256, in hexadecimal, of the rest of a stream."""
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def descriptor(media_type: str, content: bytes | Layer) -> dict[str, Any]:
    """Return how a manifest names a blob."""
    if isinstance(content, Layer):
        return {"mediaType": media_type, "size": content.size, "digest": content.digest}
    return {"mediaType": media_type, "size": len(content), "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}


def empty_config(arch: str) -> dict[str, Any]:
    """Return the configuration of an image that has nothing in it."""
    return {
        "architecture": arch,
        "os": "linux",
        "created": _LONG_AGO,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [],
    }


def with_layer(config: Mapping[str, Any], above: Layer, command: str) -> dict[str, Any]:
    """Return the image's configuration with one more layer; the same for the same layer, whenever it is made.

    Args:
        command: what the image's history says of the layer.
    """
    rootfs = config["rootfs"]
    result = {**config, "rootfs": {**rootfs, "diff_ids": [*rootfs["diff_ids"], above.diff_id]}}
    if "history" in config:  # where there is one, Docker wants an entry for each layer
        entry = {"created": config.get("created", _LONG_AGO), "created_by": command}
        result["history"] = [*config["history"], entry]
    return result
