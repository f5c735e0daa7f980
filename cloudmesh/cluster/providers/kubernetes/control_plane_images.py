"""Makes the images of the control plane and the pod network from binaries, and puts them into the cluster's registry.

Neither another registry nor `ctr import` is needed: each image is one layer with one program in it. Only kube-proxy and
flanneld call other programs; their images are based on one that the operator's Docker daemon builds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.binaries.pinned import find_engine
from cloudmesh.cluster.docker_daemon.debian_base import roomy_directory
from cloudmesh.cluster.images import layers
from cloudmesh.cluster.images.build import build_image
from cloudmesh.cluster.images.catalog import RELEASE, Image
from cloudmesh.cluster.images.push import push

if TYPE_CHECKING:
    from cloudmesh.cluster.binaries.cache import BinaryBundle, BinaryFile
    from cloudmesh.cluster.core.report import Report
    from cloudmesh.cluster.images.registry import Registry


REPOSITORY = "kubernetes"
BASE = Image("kubernetes-base", RELEASE, folder="kubernetes/base")
_COMPRESSORS = 2
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class ControlPlaneImage:
    """An image of one program.

    Attributes:
        name: what kubeadm calls the image.
        tag: the version that kubeadm requires.
        program: the path of the program in the image; the name of its binary is the last part.
        on_base: whether the image is based on `BASE`, as it needs the programs there.
        user: the user that runs the program; empty: root.
    """

    name: str
    tag: str
    program: str
    on_base: bool = False
    user: str = ""

    @property
    def file(self) -> str:
        """The name of the binary."""
        return self.program.rpartition("/")[2]

    def settings(self) -> dict[str, Any]:
        """Return the part of the image's configuration that says how the program is run."""
        user = {"User": self.user} if self.user else {}
        return {"Entrypoint": [self.program], "Cmd": None, "Env": [_PATH], **user}


def images(version: str) -> tuple[ControlPlaneImage, ...]:
    """Return the images that `kubeadm config images list` prints for a version, in the same order, and flannel.

    Raises:
        UsageError: the version is not pinned.
    """
    tags = find_engine("kubernetes", version).tags

    def image(program: str, *, name: str = "", on_base: bool = False, user: str = "") -> ControlPlaneImage:
        name = name or program.rpartition("/")[2]
        return ControlPlaneImage(name, tags[name], program, on_base, user)

    return (
        image("/usr/local/bin/kube-apiserver"),
        image("/usr/local/bin/kube-controller-manager"),
        image("/usr/local/bin/kube-scheduler"),
        image("/usr/local/bin/kube-proxy", on_base=True),
        image("/coredns"),
        image("/pause", user="65535:65535"),
        image("/usr/local/bin/etcd"),
        image("/opt/bin/flanneld", name="flannel", on_base=True),
    )


def reference(name: str, version: str, repository: str = REPOSITORY) -> str:
    """Return "REPOSITORY/NAME:TAG" of one of `images`.

    Raises:
        UsageError: the version of Kubernetes is not pinned.
    """
    return f"{repository}/{name}:{find_engine('kubernetes', version).tags[name]}"


def deliver_images(
    registry: Registry, bundle: BinaryBundle, repository: str = REPOSITORY, *, report: Report, base: str = ""
) -> None:
    """Put every image of `images` into the registry, except those that it has already.

    Args:
        registry: the registry of the cluster.
        bundle: the binaries.
        repository: what the names of the images begin with: kubeadm's `imageRepository` without the registry's address.
        report: where progress is reported.
        base: the tag of an image in the operator's Docker daemon to build `BASE` on; empty: the usual Debian image.

    Raises:
        ImageError: `BASE` could not be built or pushed, or the registry does not answer.
    """
    files = {file.name: file for file in bundle.files}
    base_tag = BASE.tag(base)
    contents = {image: _describe_content(image, files, base_tag) for image in images(bundle.version)}
    missing = [
        image for image in contents if registry.content(f"{repository}/{image.name}", image.tag) != contents[image]
    ]
    if any(image.on_base for image in missing):
        _deliver_base(registry, base_tag, base, report)
    for image, layer in _pack_layers(missing, files):
        report.step("images", f"send {image.name} to the cluster")
        registry.put_image(
            f"{repository}/{image.name}",
            image.tag,
            layer,
            image.settings(),
            content=contents[image],
            arch=bundle.arch,
            base=_split(base_tag) if image.on_base else None,
        )
    report.done("images", f"{bundle.engine} {bundle.version}")


def _describe_content(image: ControlPlaneImage, files: Mapping[str, BinaryFile], base: str) -> str:
    """Return a text that is different if the image has other content; the registry stores it with the image."""
    return f"{image.program} sha256:{files[image.file].sha256}" + (f" on {base}" if image.on_base else "")


def _deliver_base(registry: Registry, tag: str, base: str, report: Report) -> None:
    """Put the base into the registry; if it is there already, no Docker daemon is needed."""
    if not registry.has_manifest(*_split(tag)):
        build_image(BASE, report=report, base=base)
        push(tag, registry, report=report)


def _split(tag: str) -> tuple[str, str]:
    repository, _, version = tag.rpartition(":")
    return repository, version


def _pack_layers(
    images: Iterable[ControlPlaneImage], files: Mapping[str, BinaryFile]
) -> Iterator[tuple[ControlPlaneImage, layers.Layer]]:
    """Yield each image with its layer, a temporary file, while the next layers are being compressed."""
    with (
        tempfile.TemporaryDirectory(prefix="cloudmesh-images.", dir=roomy_directory()) as directory,
        ThreadPoolExecutor(_COMPRESSORS) as pool,
    ):

        def pack(image: ControlPlaneImage) -> tuple[ControlPlaneImage, layers.Layer]:
            target = Path(directory, image.name)
            return image, layers.pack_program(files[image.file].path, image.program, target)

        yield from pool.map(pack, images)
