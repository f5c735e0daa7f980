"""What tests of engines' binaries share: an empty cache, a report that remembers, engines of a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cloudmesh.cluster.binaries import cache as binary_cache
from cloudmesh.cluster.binaries.cache import BinaryBundle
from cloudmesh.cluster.binaries.pinned import KUBERNETES, Build, EngineSpec
from cloudmesh.cluster.binaries.provision import obtain
from cloudmesh.cluster.core.errors import BinaryError
from cloudmesh.cluster.core.user_cache import cache_directory


class Collected:
    """A Report that remembers its lines; KeyboardInterrupt at the step that contains `interrupt_at`."""

    def __init__(self, interrupt_at: str = "") -> None:
        self.lines: list[str] = []
        self.interrupt_at = interrupt_at

    def step(self, where: str, what: str) -> None:
        self.lines.append(what)
        if self.interrupt_at and self.interrupt_at in what:
            raise KeyboardInterrupt

    def done(self, where: str, what: str = "") -> None:
        self.lines.append(what)

    def failed(self, where: str, why: str) -> None:
        self.lines.append(why)

    def note(self, text: str) -> None:
        self.lines.append(text)

    def __str__(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cache"
    monkeypatch.setenv("CLOUDMESH_CLUSTER_CACHE", str(directory))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return directory


def get(
    spec: EngineSpec, mirror: str | Path = "", report: Collected | None = None, arch: str = "amd64"
) -> BinaryBundle:
    return obtain(spec, arch=arch, mirror=str(mirror), report=report or Collected())


def cached_files(cache: Path) -> list[str]:
    """Return the paths of all files in the cache, without lock files."""
    return sorted(
        str(file.relative_to(cache)) for file in cache.rglob("*") if file.is_file() and file.suffix != ".lock"
    )


def toys(directory: Path, sources: Mapping[str, str], *, go: str = "1.21", cgo: bool = False) -> EngineSpec:
    """Return an engine of some programs. Its module requires their main packages, as the real modules do."""
    for name, text in {
        "main/go.mod": "module example.com/toy\n\ngo 1.21\n",
        **{f"main/{program}/main.go": source for program, source in sources.items()},
        "engine/go.mod": f"module engine\n\ngo {go}\n\nrequire example.com/toy v0.0.0\n\n"
        f"replace example.com/toy => {directory}/main\n",
    }.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    packages = {program: f"example.com/toy/{program}" for program in sources}
    return EngineSpec("toy", "1.0", tuple(sources), (), (Build(directory / "engine", packages, cgo=cgo),))


def built_files() -> dict[str, Path]:
    """Return the paths of Kubernetes' binaries by name; none where the cache of this machine does not have them.

    Their checksums are not looked at, as reading so much takes long for what is done before each run of tests.
    """
    directory = cache_directory() / binary_cache.cache_path(KUBERNETES, "amd64")
    manifest = directory / binary_cache.MANIFEST
    try:
        binary_cache.parse_manifest(manifest.read_bytes(), KUBERNETES, "amd64", str(manifest))
    except (OSError, BinaryError):
        return {}
    return {name: directory / name for name in KUBERNETES.files}


BUILT = built_files()
