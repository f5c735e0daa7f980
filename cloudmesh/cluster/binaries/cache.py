"""Engine files on disk: where the cache is, the manifest, and the check of each file against it.

Layout, of the cache and of a mirror alike (a mirror is made by copying the cache):

    ENGINE/VERSION/linux_ARCH/manifest.json
    ENGINE/VERSION/linux_ARCH/FILE...

    {"engine": "nomad", "version": "1.10.5", "arch": "amd64", "pins": "<digest of the pins>", "source": "...",
     "files": {"nomad": {"sha256": "...", "size": 99892880}}}
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmesh.cluster.binaries.pinned import EngineSpec
from cloudmesh.cluster.core.errors import BinaryError
from cloudmesh.cluster.core.report import Report

MANIFEST = "manifest.json"


class SourceUnavailableError(BinaryError):
    """A source does not have the engine; the next one may."""


@dataclass(frozen=True)
class BinaryFile:
    """One verified binary.

    Attributes:
        size: in bytes.
    """

    name: str
    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class BinaryBundle:
    """All files of an engine, verified.

    Attributes:
        arch: "amd64", "arm64".
        source: where they first came from.
    """

    engine: str
    version: str
    arch: str
    source: str
    files: tuple[BinaryFile, ...]


def cache_directory() -> Path:
    """Return `$CLOUDMESH_CLUSTER_CACHE`, else `cloudmesh-cluster` in the user's cache directory."""
    given = os.environ.get("CLOUDMESH_CLUSTER_CACHE", "")
    if given:
        return Path(given).expanduser().absolute()
    default = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or default).expanduser() / "cloudmesh-cluster"


def cache_path(spec: EngineSpec, arch: str) -> str:
    """Return where the engine is below the cache and below a mirror."""
    return f"{spec.name}/{spec.version}/linux_{arch}"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check(path: Path, expected: str, origin: str) -> None:
    """Delete `path` and raise unless its SHA-256 is the expected one.

    Raises:
        EngineError: it is another; names `origin`.
    """
    found = sha256(path)
    if found != expected:
        path.unlink()
        raise BinaryError(
            f"{origin}: wrong checksum, the file was deleted: its SHA-256 is {found}, it must be {expected}"
        )


def write_manifest(directory: Path, spec: EngineSpec, arch: str, source: str) -> None:
    """Write the manifest of the files in `directory`."""
    files = {
        name: {"sha256": sha256(directory / name), "size": (directory / name).stat().st_size} for name in spec.files
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
    """Return the manifest in `text` if it is one of what is pinned.

    Raises:
        EngineError: it is malformed, or of something else; names `origin`.
    """
    try:
        manifest = json.loads(text)
        found = [manifest[field] for field in ("engine", "version", "arch", "pins")]
        complete = all(
            isinstance(manifest["files"][name]["sha256"], str) and isinstance(manifest["files"][name]["size"], int)
            for name in spec.files
        )
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise BinaryError(f"{origin}: not a manifest of {spec.name} {spec.version}; copy a cache directory as it is")
    if found != [spec.name, spec.version, arch, spec.pins()]:
        raise BinaryError(
            f"{origin}: of {found[0]} {found[1]} for {found[2]}, and not of what this version of cms pins "
            f"({spec.name} {spec.version} for {arch}); fill it again with `cms cluster engines`"
        )
    return dict(manifest)


def verify(directory: Path, manifest: dict[str, Any], spec: EngineSpec, origin: str) -> BinaryBundle:
    """Return the files in `directory` once each has been hashed and found to be what the manifest says.

    Raises:
        EngineError: one is missing, or is another (it is deleted); names it below `origin`.
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
    """Return what the cache holds, verified.

    Raises:
        AbsentError: it holds nothing.
        EngineError: what it holds is not what it must be; a file that does not match was deleted.
    """
    directory = cache_directory() / cache_path(spec, arch)
    if not (directory / MANIFEST).is_file():
        raise SourceUnavailableError(f"{directory}: not there")
    manifest = parse_manifest((directory / MANIFEST).read_bytes(), spec, arch, str(directory / MANIFEST))
    return verify(directory, manifest, spec, str(directory))


@contextlib.contextmanager
def scratch(spec: EngineSpec, arch: str, report: Report) -> Iterator[Path]:
    """Give an empty directory beside the cache entry, to this process alone; nothing of it stays.

    What a killed process left is removed by the next one. A process that finds another at work waits for it.
    """
    home = cache_directory()
    home.mkdir(parents=True, exist_ok=True)
    label = f"{spec.name}-{spec.version}-{arch}"
    with (home / f".{label}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.step("engine", f"waiting for another process that is getting {spec.name} {spec.version}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        directory = home / f".{label}.partial"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def publish(directory: Path, spec: EngineSpec, arch: str) -> None:
    """Make `directory` the cache's entry, in one step."""
    target = cache_directory() / cache_path(spec, arch)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    directory.replace(target)
