"""Provides engine binaries to the rest of the program, from the first source that has them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from cloudmesh.cluster.binaries import cache, go_build, sources
from cloudmesh.cluster.binaries.cache import BinaryBundle, SourceUnavailableError
from cloudmesh.cluster.binaries.pinned import EngineSpec, find_engine
from cloudmesh.cluster.core.errors import BinaryError, UsageError
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.core.user_cache import describe_unwritable

_ARCHITECTURES = ("amd64", "arm64")


def provide(engine: str, *, version: str = "", arch: str = "amd64", mirror: str = "", report: Report) -> BinaryBundle:
    """Return the verified binaries of `engine`, from the cache, a mirror, the vendor's release site, or a build.

    Where a source does not answer or does not have them, that is reported, and the next source is asked. A source with
    wrong files ends the search, since a person must look at it; only wrong files in the cache are replaced.

    Args:
        engine: "nomad" or "kubernetes".
        version: one of those that are pinned; empty: the one that new clusters get.
        arch: architecture of the hosts: "amd64" or "arm64".
        mirror: a directory or URL with a copy of a cache, see `sources.Mirror`; empty: no mirror is asked.
        report: where progress is reported.

    Raises:
        UsageError: there is no such engine, version, architecture or mirror.
        BinaryError: no source has the binaries, or a source has wrong ones.
    """
    return obtain(find_engine(engine, version), arch=arch, mirror=mirror, report=report)


def obtain(spec: EngineSpec, *, arch: str, mirror: str, report: Report) -> BinaryBundle:
    """Do what `provide` does, for any `EngineSpec`; raises the same errors."""
    if arch not in _ARCHITECTURES:
        raise UsageError(f"architecture {arch!a} is not known: use {' or '.join(_ARCHITECTURES)}")
    mirror_source = sources.Mirror(mirror) if mirror else None
    try:
        bundle = _load_from_cache(spec, arch, report) or _fill_cache(spec, arch, mirror_source, report)
    except OSError as error:
        raise BinaryError(describe_unwritable(error)) from error
    except BinaryError as error:
        report.failed("engine", str(error))
        raise
    report.done("engine", f"{spec.name} {spec.version} ({bundle.source})")
    return bundle


def list_files(engine: str, *, version: str = "", arch: str = "amd64") -> list[dict[str, str | int]]:
    """Return a row for each binary of `engine`; source, checksum and path are empty where the cache does not have it.

    Raises:
        UsageError: there is no such engine, or no such version of it.
    """
    return file_rows(find_engine(engine, version), arch)


def file_rows(spec: EngineSpec, arch: str) -> list[dict[str, str | int]]:
    """Do what `list_files` does, for any `EngineSpec`."""
    try:
        bundle = cache.load(spec, arch)
    except BinaryError:
        return [_row(spec, name, "", "", 0, "") for name in spec.files]
    return [_row(spec, file.name, bundle.source, file.sha256, file.size, str(file.path)) for file in bundle.files]


def _row(spec: EngineSpec, file: str, source: str, digest: str, size: int, path: str) -> dict[str, str | int]:
    return {
        "engine": spec.name,
        "version": spec.version,
        "file": file,
        "source": source,
        "sha256": digest,
        "size": size,
        "path": path,
    }


def _load_from_cache(spec: EngineSpec, arch: str, report: Report) -> BinaryBundle | None:
    """Return the binaries in the cache; None where it does not have them, or has wrong ones, which is reported."""
    try:
        return cache.load(spec, arch)
    except SourceUnavailableError:
        return None
    except BinaryError as error:
        report.note(str(error))
        return None


def _fill_cache(spec: EngineSpec, arch: str, mirror: sources.Mirror | None, report: Report) -> BinaryBundle:
    """Fill the cache from the first source that has the binaries, and return them."""
    with cache.scratch(spec, arch, report) as scratch:
        with contextlib.suppress(BinaryError):  # another process may have filled it while this one waited
            return cache.load(spec, arch)
        files, work = scratch / "files", scratch / "work"
        attempts: list[Callable[[], str]] = [
            lambda: sources.release(spec, arch, files, report),
            lambda: go_build.build(spec, arch, files, work, report),
        ]
        if mirror:
            attempts.insert(0, lambda: mirror.give(spec, arch, files, report))
        source = _try_in_turn(attempts, files, work, spec, arch, report)
        cache.write_manifest(files, spec, arch, source)
        cache.publish(files, spec, arch)
        return cache.load(spec, arch)


def _try_in_turn(
    attempts: list[Callable[[], str]], files: Path, work: Path, spec: EngineSpec, arch: str, report: Report
) -> str:
    """Return the result of the first attempt that succeeds; `files` and `work` are empty when an attempt begins.

    Raises:
        BinaryError: no source has the binaries (the message says why), or one has wrong ones.
    """
    causes = []
    for attempt in attempts:
        for directory in (files, work):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        try:
            return attempt()
        except SourceUnavailableError as error:
            causes.append(str(error))
            report.note(f"{spec.name} {spec.version}: {error}")
    raise BinaryError(f"{spec.name} {spec.version} for {arch} is not to be had: {'; '.join(causes)}")
