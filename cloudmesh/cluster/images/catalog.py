"""The images that this project builds, their build contexts and their tags."""

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
    """An image that this project builds.

    Attributes:
        name: what users call it, such as "spark".
        version: version of the software in it.
        folder: the folder with its build context, below cloudmesh/images; empty: `name`.
        shared: files of other folders that its context contains, too, such as "spark/supervise.py".
        plugin: whether its context contains the files of this plugin, below plugin/.
    """

    name: str
    version: str
    folder: str = ""
    shared: tuple[str, ...] = ()
    plugin: bool = False

    @property
    def repository(self) -> str:
        """The repository of the image, in a Docker daemon and in a registry."""
        return f"cloudmesh/{self.name}"

    def context(self) -> dict[str, bytes]:
        """Return the content of each file of the build context, by its name, sorted."""
        images = importlib.resources.files("cloudmesh.images")
        entries = list(images.joinpath(*(self.folder or self.name).split("/")).iterdir())
        entries += [images.joinpath(*path.split("/")) for path in self.shared]
        entries = sorted((entry for entry in entries if entry.is_file()), key=lambda entry: entry.name)
        files = {entry.name: entry.read_bytes() for entry in entries}
        return {**files, **(_read_plugin() if self.plugin else {})}

    def tag(self, base: str = "") -> str:
        """Return "cloudmesh/NAME:VERSION-DIGEST", which is the same on every machine that has the same files.

        So a machine without a Docker daemon can look for the image in a cluster's registry. For the same reason the
        digest does not depend on the packages in the base image, only on its name.

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
        NotFoundError: `IMAGES` has no such name.
    """
    if name not in IMAGES:
        raise NotFoundError(f"image {name[:60]!a} is none of ours: {', '.join(sorted(IMAGES))}")
    return IMAGES[name]


def tag(name: str, base: str = "") -> str:
    """Return the tag of the image called `name`; see `Image.tag`.

    Raises:
        NotFoundError: `IMAGES` has no such name.
    """
    return find(name).tag(base)


def split_tag(image: str) -> tuple[str, str]:
    """Split "REPOSITORY:TAG" into repository and tag. `image` has a tag; the repository may contain a port."""
    repository, _, version = image.rpartition(":")
    return repository, version


def _read_plugin() -> dict[str, bytes]:
    """Return the content of each file of this plugin, by its name in a build context, sorted."""
    files: dict[str, bytes] = {}
    for package in ("cluster", "images"):
        folder = importlib.resources.files(f"cloudmesh.{package}")
        files.update(_read_files_below(folder, f"plugin/cloudmesh/{package}"))
    return dict(sorted(files.items()))


def _read_files_below(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file below `folder`, whose name in the build context is `name`."""
    for entry in folder.iterdir():
        path = f"{name}/{entry.name}"
        if entry.is_file() and not entry.name.endswith(".pyc"):
            yield path, entry.read_bytes()
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _read_files_below(entry, path)
