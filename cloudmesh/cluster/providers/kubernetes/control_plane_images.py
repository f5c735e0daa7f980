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

from cloudmesh.cluster.binaries.pinned import KUBERNETES
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


_RELEASE = f"v{KUBERNETES.version}"
IMAGES = (
    ControlPlaneImage("kube-apiserver", _RELEASE, "/usr/local/bin/kube-apiserver"),
    ControlPlaneImage("kube-controller-manager", _RELEASE, "/usr/local/bin/kube-controller-manager"),
    ControlPlaneImage("kube-scheduler", _RELEASE, "/usr/local/bin/kube-scheduler"),
    ControlPlaneImage("kube-proxy", _RELEASE, "/usr/local/bin/kube-proxy", on_base=True),
    ControlPlaneImage("coredns", "v1.14.2", "/coredns"),
    ControlPlaneImage("pause", "3.10.2", "/pause", user="65535:65535"),
    ControlPlaneImage("etcd", "3.6.8-0", "/usr/local/bin/etcd"),
    ControlPlaneImage("flannel", "v0.28.4", "/opt/bin/flanneld", on_base=True),
)
"""The images that `kubeadm config images list` prints, in the same order, and flannel."""


def reference(name: str, repository: str = REPOSITORY) -> str:
    """Return "REPOSITORY/NAME:TAG" of one of `IMAGES`; KeyError if none has this name."""
    return {image.name: f"{repository}/{image.name}:{image.tag}" for image in IMAGES}[name]


def deliver_images(
    registry: Registry, bundle: BinaryBundle, repository: str = REPOSITORY, *, report: Report, base: str = ""
) -> None:
    """Put every image of `IMAGES` into the registry, except those that it has already.

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
    contents = {image: _describe_content(image, files, base_tag) for image in IMAGES}
    missing = [
        image for image in IMAGES if registry.content(f"{repository}/{image.name}", image.tag) != contents[image]
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
