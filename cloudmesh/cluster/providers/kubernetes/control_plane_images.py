"""The images of the control plane and the pod network, composed of engine files and put into the cluster's registry.

No other registry and no `ctr import` takes part: an image is a layer with one program in it. Only kube-proxy and
flanneld call other programs, and lie on a base that the operator's Docker engine builds.
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
        name: as kubeadm names it.
        tag: the version that kubeadm asks for.
        program: where the program is in the image; the engine's file has the same name.
        on_base: whether it calls programs of `BASE`.
        user: that it runs as; empty: root.
    """

    name: str
    tag: str
    program: str
    on_base: bool = False
    user: str = ""

    @property
    def file(self) -> str:
        """The engine's file."""
        return self.program.rpartition("/")[2]

    def settings(self) -> dict[str, Any]:
        """Return what an image's configuration says of how it runs."""
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
"""What `kubeadm config images list` names, in its order, and flannel."""


def reference(name: str, repository: str = REPOSITORY) -> str:
    """Return "REPOSITORY/NAME:TAG" of one of `IMAGES`; KeyError if there is no such image."""
    return {image.name: f"{repository}/{image.name}:{image.tag}" for image in IMAGES}[name]


def deliver_images(
    registry: Registry, bundle: BinaryBundle, repository: str = REPOSITORY, *, report: Report, base: str = ""
) -> None:
    """Put every image of `IMAGES` into the registry; nothing is built or sent that is there.

    Args:
        registry: of the cluster.
        bundle: the engine's files.
        repository: what the images' names begin with: kubeadm's `imageRepository` below the registry's address.
        report: where progress goes.
        base: tag of the image, in the operator's Docker engine, to build `BASE` on; empty: the usual Debian base.

    Raises:
        ImageError: the base could not be built or pushed, or the registry does not answer.
    """
    files = {file.name: file for file in bundle.files}
    below = BASE.tag(base)
    contents = {image: _content(image, files, below) for image in IMAGES}
    wanted = [image for image in IMAGES if registry.content(f"{repository}/{image.name}", image.tag) != contents[image]]
    if any(image.on_base for image in wanted):
        _deliver_base(registry, below, base, report)
    for image, layer in _packed(wanted, files):
        report.step("images", f"send {image.name} to the cluster")
        registry.put_image(
            f"{repository}/{image.name}",
            image.tag,
            layer,
            image.settings(),
            content=contents[image],
            arch=bundle.arch,
            base=_split(below) if image.on_base else None,
        )
    report.done("images", f"{bundle.engine} {bundle.version}")


def _content(image: ControlPlaneImage, files: Mapping[str, BinaryFile], base: str) -> str:
    """Return what decides what the image holds."""
    return f"{image.program} sha256:{files[image.file].sha256}" + (f" on {base}" if image.on_base else "")


def _deliver_base(registry: Registry, tag: str, base: str, report: Report) -> None:
    """See to it that the registry has the base; no Docker engine is asked where it has."""
    if not registry.has_manifest(*_split(tag)):
        build_image(BASE, report=report, base=base)
        push(tag, registry.port, report=report)


def _split(tag: str) -> tuple[str, str]:
    repository, _, version = tag.rpartition(":")
    return repository, version


def _packed(
    images: Iterable[ControlPlaneImage], files: Mapping[str, BinaryFile]
) -> Iterator[tuple[ControlPlaneImage, layers.Layer]]:
    """Yield each image's layer, a temporary file, while the next ones are being compressed."""
    with (
        tempfile.TemporaryDirectory(prefix="cloudmesh-images.", dir=roomy_directory()) as directory,
        ThreadPoolExecutor(_COMPRESSORS) as pool,
    ):

        def packed(image: ControlPlaneImage) -> tuple[ControlPlaneImage, layers.Layer]:
            target = Path(directory, image.name)
            return image, layers.pack_program(files[image.file].path, image.program, target)

        yield from pool.map(packed, images)
