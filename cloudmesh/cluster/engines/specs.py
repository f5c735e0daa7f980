"""What each engine is made of: versions, checksums, where to get it and how to build it. Data only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from cloudmesh.cluster.errors import UsageError

if TYPE_CHECKING:
    from importlib.abc import Traversable


@dataclass(frozen=True)
class Download:
    """One file of the vendor's release site.

    Attributes:
        url: with `{version}` and `{arch}`; a .zip, a .tar.gz, or the binary itself.
        sha256: of what the URL serves, by architecture.
        members: the engine's file → its name in the archive; for a binary as it is, one file with the name "".
    """

    url: str
    sha256: Mapping[str, str]
    members: Mapping[str, str]


@dataclass(frozen=True)
class Build:
    """Binaries that are built from one Go module.

    Attributes:
        module: a directory with go.mod and go.sum; go.mod requires the module and repeats its replaces.
        packages: the engine's file → the main package's import path.
        ldflags: for the linker.
        tags: build tags.
        cgo: whether it needs a C compiler; it is linked statically then.
    """

    module: Traversable
    packages: Mapping[str, str]
    ldflags: str = "-s -w"
    tags: str = ""
    cgo: bool = False


@dataclass(frozen=True)
class Spec:
    """An engine in one version.

    Attributes:
        name: "nomad", "kubernetes".
        version: without a "v".
        files: every file that a source must give.
        downloads: all of them together give the files; none: the vendor's site is not asked.
        builds: all of them together give the files.
    """

    name: str
    version: str
    files: tuple[str, ...]
    downloads: tuple[Download, ...]
    builds: tuple[Build, ...]

    def pins(self) -> str:
        """Return a digest of all that decides what the files contain, so that a changed pin voids the cache."""
        data = {
            "version": self.version,
            "files": self.files,
            "downloads": [[one.url, dict(one.sha256), dict(one.members)] for one in self.downloads],
            "builds": [
                [dict(one.packages), one.ldflags, one.tags, one.cgo, _text(one, "go.mod"), _text(one, "go.sum")]
                for one in self.builds
            ],
        }
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _text(build: Build, name: str) -> str:
    file = build.module / name
    return file.read_text() if file.is_file() else ""


def find(engine: str) -> Spec:
    """Return what is pinned for `engine`.

    Raises:
        UsageError: there is no such engine.
    """
    for spec in SPECS:
        if spec.name == engine:
            return spec
    raise UsageError(f"engine {engine!a} is not known: use {' or '.join(spec.name for spec in SPECS)}")


# The checksums of the zips are those of HashiCorp's own Homebrew formula for this version.
NOMAD = Spec(
    name="nomad",
    version="1.10.5",
    files=("nomad",),
    downloads=(
        Download(
            url="https://releases.hashicorp.com/nomad/{version}/nomad_{version}_linux_{arch}.zip",
            sha256={
                "amd64": "4242244ab1f6887e963d6bb674ac490ee9b270a29aff6f826c51ef3187c77044",
                "arm64": "a24f3f3d230ceacdef3c69cf264ffa913d2cf90fd862d26d36c87a6d04512e22",
            },
            members={"nomad": "nomad"},
        ),
    ),
    builds=(
        Build(
            module=resources.files("cloudmesh.images") / "nomad" / "engine",
            packages={"nomad": "github.com/hashicorp/nomad"},
            tags="osusergo,netgo",  # the static binary must not ask the C library for users and names
            cgo=True,  # runc's nsenter, which is part of Nomad
        ),
    ),
)

SPECS = (NOMAD,)
