"""What each engine is made of: versions, checksums, where to get it and how to build it. Data only."""

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
        module: a directory with go.mod and go.sum; go.mod requires the module and repeats its replaces. A program of
            our own has its source there.
        packages: the engine's file → the main package's import path, or ".". Several are built at once, and each file
            must have the name that Go gives it, the last part of the path.
        ldflags: for the linker.
        tags: build tags.
        cgo: whether it needs a C compiler; it is linked statically then.
    """

    module: Traversable
    packages: Mapping[str, str]
    ldflags: str = "-s -w"
    tags: str = ""
    cgo: bool = False

    def sources(self) -> dict[str, str]:
        """Return the files of the module by their names, sorted."""
        files = sorted((one for one in self.module.iterdir() if one.is_file()), key=lambda one: one.name)
        return {one.name: one.read_text() for one in files}

    def pins(self) -> list[object]:
        """Return all that decides what the binaries contain, as JSON has it."""
        texts = self.sources()
        module = [texts.pop("go.mod", ""), texts.pop("go.sum", "")]
        return [dict(self.packages), self.ldflags, self.tags, self.cgo, *module, *texts.values()]


@dataclass(frozen=True)
class EngineSpec:
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
            "builds": [one.pins() for one in self.builds],
        }
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def find_engine(engine: str) -> EngineSpec:
    """Return what is pinned for `engine`.

    Raises:
        UsageError: there is no such engine.
    """
    for spec in SPECS:
        if spec.name == engine:
            return spec
    raise UsageError(f"engine {engine!a} is not known: use {' or '.join(spec.name for spec in SPECS)}")


_IMAGES = resources.files("cloudmesh.images")

# The checksums of the zips are those of HashiCorp's own Homebrew formula for this version.
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
            cgo=True,  # runc's nsenter, which is part of Nomad
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
# Of Kubernetes' release; it leaves something out of libraries that others use too, which are compiled twice without it.
_SHARED_TAG = "notest"
# What a build of its own repository would take from git; the date is the release's.
_KUBERNETES_VERSION = {
    "gitVersion": f"v{_KUBERNETES}",
    "gitMajor": "1",
    "gitMinor": "36",
    "gitCommit": "",
    "gitTreeState": "archive",
    "buildDate": "2026-07-22T18:07:38Z",
}

# etcd and CoreDNS are of the versions that this kubeadm names. No checksums of these releases' binaries are published
# in a place that can be pinned from, hence no downloads: a mirror, or a build.
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
            cgo=True,  # its UDP backend
        ),
        Build(
            module=_KUBERNETES_MODULES / "cni",
            packages={"flannel": "github.com/containernetworking/plugins/plugins/meta/flannel"},
        ),
        Build(module=_KUBERNETES_MODULES / "pause", packages={"pause": "."}),
    ),
)

SPECS = (NOMAD, KUBERNETES)
