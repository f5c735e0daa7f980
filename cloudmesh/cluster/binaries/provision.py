"""Where the rest of the program gets engine binaries from."""

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

_ARCHITECTURES = ("amd64", "arm64")


def provide(engine: str, *, arch: str = "amd64", mirror: str = "", report: Report) -> BinaryBundle:
    """Return the verified binaries of `engine`: cached, mirrored, released or built, the first that has them.

    A source that does not answer or has not got them is noted, and the next one is asked. A source that gives something
    else than it must ends the search: that is for a person to look at. Only the cache, which is ours, is mended.

    Args:
        engine: "nomad" or "kubernetes".
        arch: of the hosts: "amd64", "arm64".
        mirror: a directory or URL with a copy of a cache, see `sources.Mirror`; empty: none.

    Raises:
        UsageError: there is no such engine, architecture or mirror.
        EngineError: no source has it, or one gave the wrong thing.
    """
    return obtain(find_engine(engine), arch=arch, mirror=mirror, report=report)


def obtain(spec: EngineSpec, *, arch: str, mirror: str, report: Report) -> BinaryBundle:
    """Do the work of `provide`, for any spec."""
    if arch not in _ARCHITECTURES:
        raise UsageError(f"architecture {arch!a} is not known: use {' or '.join(_ARCHITECTURES)}")
    given = sources.Mirror(mirror) if mirror else None
    try:
        bundle = _cached(spec, arch, report) or _fill(spec, arch, given, report)
    except OSError as error:
        raise BinaryError(
            f"cache {cache.cache_directory()}: {error.strerror or error}; make room or set CLOUDMESH_CLUSTER_CACHE"
        ) from error
    except BinaryError as error:
        report.failed("engine", str(error))
        raise
    report.done("engine", f"{spec.name} {spec.version} ({bundle.source})")
    return bundle


def list_files(engine: str, *, arch: str = "amd64") -> list[dict[str, str | int]]:
    """Return a row for each file of `engine`, as the cache has it; without source and checksum where it has not.

    Raises:
        UsageError: there is no such engine.
    """
    return file_rows(find_engine(engine), arch)


def file_rows(spec: EngineSpec, arch: str) -> list[dict[str, str | int]]:
    """Do the work of `listing`, for any spec."""
    try:
        bundle = cache.load(spec, arch)
    except BinaryError:
        return [_row(spec, name, "", "", 0, "") for name in spec.files]
    return [_row(spec, one.name, bundle.source, one.sha256, one.size, str(one.path)) for one in bundle.files]


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


def _cached(spec: EngineSpec, arch: str, report: Report) -> BinaryBundle | None:
    try:
        return cache.load(spec, arch)
    except SourceUnavailableError:
        return None
    except BinaryError as error:
        report.note(str(error))
        return None


def _fill(spec: EngineSpec, arch: str, mirror: sources.Mirror | None, report: Report) -> BinaryBundle:
    """Fill the cache from the first source that has the engine."""
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
        source = _first(attempts, files, work, spec, arch, report)
        cache.write_manifest(files, spec, arch, source)
        cache.publish(files, spec, arch)
        return cache.load(spec, arch)


def _first(
    attempts: list[Callable[[], str]], files: Path, work: Path, spec: EngineSpec, arch: str, report: Report
) -> str:
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
