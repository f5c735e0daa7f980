"""The cache of binaries on disk: where it is, its manifests, and the check of each file against its manifest.

A mirror is a copy of the cache, so both have this layout:

    ENGINE/VERSION/linux_ARCH/manifest.json
    ENGINE/VERSION/linux_ARCH/FILE...

    {"engine": "nomad", "version": "1.10.5", "arch": "amd64", "pins": "<digest of the pins>", "source": "...",
     "files": {"nomad": {"sha256": "...", "size": 99892880}}}
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmesh.cluster.binaries.pinned import EngineSpec
from cloudmesh.cluster.core.digests import sha256_of_file
from cloudmesh.cluster.core.errors import BinaryError
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.core.user_cache import cache_directory, make_alone

MANIFEST = "manifest.json"


class SourceUnavailableError(BinaryError):
    """A source cannot give the engine's binaries, or does not answer; the next source may have them."""


@dataclass(frozen=True)
class BinaryFile:
    """One verified binary.

    Attributes:
        name: the file's name.
        path: where it is on this machine.
        sha256: its SHA-256 as hexadecimal digits.
        size: its size in bytes.
    """

    name: str
    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class BinaryBundle:
    """All binaries of an engine, verified.

    Attributes:
        engine: "nomad" or "kubernetes".
        version: the engine's version, without a "v".
        arch: "amd64" or "arm64".
        source: where the files first came from, in words: "release releases.hashicorp.com".
        files: one entry for each binary.
    """

    engine: str
    version: str
    arch: str
    source: str
    files: tuple[BinaryFile, ...]


def cache_path(spec: EngineSpec, arch: str) -> str:
    """Return the path of the engine's directory, relative to the cache or to a mirror."""
    return f"{spec.name}/{spec.version}/linux_{arch}"


def check(path: Path, expected: str, origin: str) -> None:
    """Check the SHA-256 of a file; delete the file where it is wrong.

    Args:
        path: the file.
        expected: the SHA-256 as hexadecimal digits.
        origin: where the file came from, for the message.

    Raises:
        BinaryError: the file has another SHA-256.
    """
    digest = sha256_of_file(path)
    if digest != expected:
        path.unlink()
        raise BinaryError(
            f"{origin}: wrong checksum, the file was deleted: its SHA-256 is {digest}, it must be {expected}"
        )


def write_manifest(directory: Path, spec: EngineSpec, arch: str, source: str) -> None:
    """Write the manifest of the binaries in `directory`, and make the binaries executable."""
    files = {
        name: {"sha256": sha256_of_file(directory / name), "size": (directory / name).stat().st_size}
        for name in spec.files
    }
    manifest = {
        "engine": spec.name,
        "version": spec.version,
        "arch": arch,
        "pins": spec.pins(),
        "source": source,
        "files": files,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    for name in spec.files:
        (directory / name).chmod(0o755)


def parse_manifest(text: bytes, spec: EngineSpec, arch: str, origin: str) -> dict[str, Any]:
    """Return the manifest in `text` after checking that it is about the pinned files.

    Args:
        text: JSON.
        spec: the engine.
        arch: "amd64" or "arm64".
        origin: where the manifest came from, for the message.

    Raises:
        BinaryError: the manifest is malformed, or is about another engine, version, architecture or other pins.
    """
    try:
        manifest = json.loads(text)
        header = [manifest[field] for field in ("engine", "version", "arch", "pins")]
        complete = all(
            isinstance(manifest["files"][name]["sha256"], str) and isinstance(manifest["files"][name]["size"], int)
            for name in spec.files
        )
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise BinaryError(f"{origin}: not a manifest of {spec.name} {spec.version}; copy a cache directory as it is")
    if header != [spec.name, spec.version, arch, spec.pins()]:
        raise BinaryError(
            f"{origin}: of {header[0]} {header[1]} for {header[2]}, and not of what this version of cms pins "
            f"({spec.name} {spec.version} for {arch}); fill it again with `cms cluster engines`"
        )
    return dict(manifest)


def verify(directory: Path, manifest: dict[str, Any], spec: EngineSpec, origin: str) -> BinaryBundle:
    """Check every binary in `directory` against the manifest, and return them.

    Raises:
        BinaryError: a file is missing, or has another SHA-256 (then it is deleted). The message names it as a file
            below `origin`.
    """
    files = []
    for name in spec.files:
        path, entry = directory / name, manifest["files"][name]
        if not path.is_file():
            raise BinaryError(f"{origin}/{name}: missing, though the manifest names it")
        check(path, entry["sha256"], f"{origin}/{name}")
        files.append(BinaryFile(name, path, entry["sha256"], path.stat().st_size))
    return BinaryBundle(spec.name, spec.version, str(manifest["arch"]), str(manifest.get("source", "")), tuple(files))


def load(spec: EngineSpec, arch: str) -> BinaryBundle:
    """Return the engine's binaries from the cache, verified.

    Raises:
        SourceUnavailableError: the cache does not have them.
        BinaryError: the cache has something else; a file with another SHA-256 is deleted.
    """
    directory = cache_directory() / cache_path(spec, arch)
    if not (directory / MANIFEST).is_file():
        raise SourceUnavailableError(f"{directory}: not there")
    manifest = parse_manifest((directory / MANIFEST).read_bytes(), spec, arch, str(directory / MANIFEST))
    return verify(directory, manifest, spec, str(directory))


@contextlib.contextmanager
def scratch(spec: EngineSpec, arch: str, report: Report) -> Iterator[Path]:
    """Yield an empty directory beside the cache's entry, and remove it at the end.

    Only one process at a time has it; others wait. What a killed process left in it is removed by the next one.
    """
    label = f"{spec.name}-{spec.version}-{arch}"
    waiting = f"waiting for another process that is getting {spec.name} {spec.version}"
    with make_alone(label, lambda: report.step("engine", waiting)):
        directory = cache_directory() / f".{label}.partial"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def publish(directory: Path, spec: EngineSpec, arch: str) -> None:
    """Move `directory` into the cache as the engine's entry, in one step."""
    target = cache_directory() / cache_path(spec, arch)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    directory.replace(target)
