"""The images that this project builds, and the tags that tell one content from another."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import NotFoundError

if TYPE_CHECKING:
    from importlib.abc import Traversable


RELEASE = "13"
_DIGITS = 12


@dataclass(frozen=True)
class Image:
    """An image of ours.

    Attributes:
        name: what users call it: "spark".
        version: of the software in it.
        folder: its build context below cloudmesh/images; empty: `name`.
        shared: files that are in its context, too, and belong to another: "spark/supervise.py".
        plugin: whether this plugin itself is in its context, too, below plugin/.
    """

    name: str
    version: str
    folder: str = ""
    shared: tuple[str, ...] = ()
    plugin: bool = False

    @property
    def repository(self) -> str:
        """Its name in an engine and in a registry."""
        return f"cloudmesh/{self.name}"

    def context(self) -> dict[str, bytes]:
        """Return the files that it is built from by their names, sorted."""
        images = importlib.resources.files("cloudmesh.images")
        own = images.joinpath(*(self.folder or self.name).split("/")).iterdir()
        entries = [*own, *(images.joinpath(*path.split("/")) for path in self.shared)]
        files = sorted((entry for entry in entries if entry.is_file()), key=lambda entry: entry.name)
        found = {entry.name: entry.read_bytes() for entry in files}
        return {**found, **(_plugin() if self.plugin else {})}

    def tag(self, base: str = "") -> str:
        """Return "cloudmesh/NAME:VERSION-DIGEST", the same on every machine that has the same files.

        So a cluster's registry can be asked for an image on a machine that has no Docker engine. Which packages a base
        of the same name holds is therefore no part of the digest.

        Args:
            base: the tag of the image to build on; empty: the Debian base of `RELEASE`.
        """
        digest = hashlib.sha256((base or f"debian {RELEASE}").encode())
        for file, content in self.context().items():
            digest.update(f"\0{file}\0{len(content)}\0".encode() + content)
        return f"{self.repository}:{self.version}-{digest.hexdigest()[:_DIGITS]}"


_ALL = (
    Image("spark", "4.0.1", shared=("hadoop/fetch.py", "hadoop/kerberos.py")),
    Image("hadoop", "3.4.2", shared=("spark/supervise.py",)),
    Image("cloudmesh", "5.0.20", plugin=True),
)
IMAGES = {image.name: image for image in _ALL}


def find(name: str) -> Image:
    """Return the image called `name`.

    Raises:
        NotFoundError: none of ours is.
    """
    if name not in IMAGES:
        raise NotFoundError(f"image {name[:60]!a} is none of ours: {', '.join(sorted(IMAGES))}")
    return IMAGES[name]


def tag(name: str, base: str = "") -> str:
    """Return the tag of the image called `name`; see `Image.tag`.

    Raises:
        NotFoundError: no image of ours is called that.
    """
    return find(name).tag(base)


def _plugin() -> dict[str, bytes]:
    """Return the files of this plugin, wherever it is installed, by their names in a build context, sorted."""
    found: dict[str, bytes] = {}
    for package in ("cluster", "images"):
        found.update(_below(importlib.resources.files(f"cloudmesh.{package}"), f"plugin/cloudmesh/{package}"))
    return dict(sorted(found.items()))


def _below(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        its = f"{name}/{entry.name}"
        if entry.is_file() and not entry.name.endswith(".pyc"):
            yield its, entry.read_bytes()
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _below(entry, its)
