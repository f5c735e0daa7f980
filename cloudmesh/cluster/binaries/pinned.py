"""The pinned data of each engine: its version, checksums, where to download it and how to build it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import UsageError

if TYPE_CHECKING:
    from importlib.abc import Traversable


@dataclass(frozen=True)
class Download:
    """One file of the vendor's release site.

    Attributes:
        url: its URL, with `{version}` and `{arch}`; a .zip, a .tar.gz, or the binary itself.
        sha256: SHA-256 of what the URL serves, by architecture.
        members: name in the archive, by the engine's file; where the URL serves the binary itself, the name is "".
    """

    url: str
    sha256: Mapping[str, str]
    members: Mapping[str, str]


@dataclass(frozen=True)
class Build:
    """Binaries that are built from one Go module.

    Attributes:
        module: a directory with go.mod and go.sum. go.mod requires the engine's module and repeats its replace
            directives. For a program of this project, the directory has its source, too.
        packages: import path of the main package, or ".", by the engine's file. Several packages are built at once;
            then each file must have the name that Go gives it, which is the last part of the path.
        ldflags: flags for the linker.
        tags: build tags, separated by commas.
        cgo: whether the build needs a C compiler; the binary is linked statically then.
    """

    module: Traversable
    packages: Mapping[str, str]
    ldflags: str = "-s -w"
    tags: str = ""
    cgo: bool = False

    def sources(self) -> dict[str, str]:
        """Return the text of each file of the module, by its name, sorted."""
        files = sorted((entry for entry in self.module.iterdir() if entry.is_file()), key=lambda entry: entry.name)
        return {file.name: file.read_text() for file in files}

    def pins(self) -> list[object]:
        """Return everything that determines what the binaries contain, in a form for JSON."""
        texts = self.sources()
        module = [texts.pop("go.mod", ""), texts.pop("go.sum", "")]
        return [dict(self.packages), self.ldflags, self.tags, self.cgo, *module, *texts.values()]


@dataclass(frozen=True)
class EngineSpec:
    """An engine in one version.

    Attributes:
        name: "nomad" or "kubernetes".
        version: the version without a "v".
        files: names of all the engine's binaries; every source must provide all of them.
        downloads: downloads that together provide the files; empty: the vendor's release site is not asked.
        builds: builds that together provide the files; empty: nothing is built.
    """

    name: str
    version: str
    files: tuple[str, ...]
    downloads: tuple[Download, ...]
    builds: tuple[Build, ...]

    def pins(self) -> str:
        """Return a digest of everything that determines what the files contain: a changed pin invalidates the cache."""
        data = {
            "version": self.version,
            "files": self.files,
            "downloads": [[file.url, dict(file.sha256), dict(file.members)] for file in self.downloads],
            "builds": [build.pins() for build in self.builds],
        }
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def find_engine(engine: str) -> EngineSpec:
    """Return the pinned data of `engine`.

    Raises:
        UsageError: there is no such engine.
    """
    for spec in SPECS:
        if spec.name == engine:
            return spec
    raise UsageError(f"engine {engine!a} is not known: use {' or '.join(spec.name for spec in SPECS)}")


_IMAGES = resources.files("cloudmesh.images")

# The checksums of the zip files are those in HashiCorp's Homebrew formula for this version.
NOMAD = EngineSpec(
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
            module=_IMAGES / "nomad" / "engine",
            packages={"nomad": "github.com/hashicorp/nomad"},
            tags="osusergo,netgo",  # the static binary must not ask the C library for users and names
            cgo=True,  # for runc's nsenter, which is part of Nomad
        ),
    ),
)

_KUBERNETES = "1.36.3"
_KUBERNETES_MODULES = _IMAGES / "kubernetes" / "engine"
_COMMANDS = (
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)
# Kubernetes' release is built with this tag, which leaves parts out of libraries that the other modules use, too.
# Without it in their builds, those libraries would be compiled twice.
_SHARED_TAG = "notest"
# What a build in Kubernetes' repository would take from git; the date is that of the release.
_KUBERNETES_VERSION = {
    "gitVersion": f"v{_KUBERNETES}",
    "gitMajor": "1",
    "gitMinor": "36",
    "gitCommit": "",
    "gitTreeState": "archive",
    "buildDate": "2026-07-22T18:07:38Z",
}

# etcd and CoreDNS have the versions that this kubeadm names. There are no downloads, only mirrors and builds, since no
# checksums of these releases' binaries are published where they could be pinned from.
KUBERNETES = EngineSpec(
    name="kubernetes",
    version=_KUBERNETES,
    files=(*_COMMANDS, "etcd", "coredns", "flanneld", "flannel", "pause"),
    downloads=(),
    builds=(
        Build(
            module=_KUBERNETES_MODULES / "kubernetes",
            packages={name: f"k8s.io/kubernetes/cmd/{name}" for name in _COMMANDS},
            ldflags=" ".join(
                ["-s -w"]
                + [
                    f"-X {package}.{name}={value}"
                    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
                    for name, value in _KUBERNETES_VERSION.items()
                ]
            ),
            tags=f"selinux,{_SHARED_TAG},grpcnotrace",
        ),
        Build(module=_KUBERNETES_MODULES / "etcd", packages={"etcd": "go.etcd.io/etcd/server/v3"}),
        Build(
            module=_KUBERNETES_MODULES / "coredns",
            packages={"coredns": "."},
            tags=_SHARED_TAG,
        ),
        Build(
            module=_KUBERNETES_MODULES / "flannel",
            packages={"flanneld": "github.com/flannel-io/flannel"},
            ldflags="-s -w -X github.com/flannel-io/flannel/pkg/version.Version=v0.28.4",
            tags=f"osusergo,netgo,{_SHARED_TAG}",
            cgo=True,  # for its UDP backend
        ),
        Build(
            module=_KUBERNETES_MODULES / "cni",
            packages={"flannel": "github.com/containernetworking/plugins/plugins/meta/flannel"},
        ),
        Build(module=_KUBERNETES_MODULES / "pause", packages={"pause": "."}),
    ),
)

SPECS = (NOMAD, KUBERNETES)
