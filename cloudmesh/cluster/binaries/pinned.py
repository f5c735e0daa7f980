"""The pinned data of each engine: its version, checksums, where to download it and how to build it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        tags: of the images that the engine itself is made of, by their names; not all engines have some.
    """

    name: str
    version: str
    files: tuple[str, ...]
    downloads: tuple[Download, ...]
    builds: tuple[Build, ...]
    tags: Mapping[str, str] = field(default_factory=dict)

    def pins(self) -> str:
        """Return a digest of everything that determines what the files contain: a changed pin invalidates the cache."""
        data = {
            "version": self.version,
            "files": self.files,
            "downloads": [[file.url, dict(file.sha256), dict(file.members)] for file in self.downloads],
            "builds": [build.pins() for build in self.builds],
        }
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def find_engine(engine: str, version: str = "") -> EngineSpec:
    """Return the pinned data of `engine`.

    Args:
        engine: its name.
        version: one of those that are pinned; empty: the one that new clusters get.

    Raises:
        UsageError: there is no such engine, or no such version of it.
    """
    versions = [spec for spec in SPECS if spec.name == engine]
    if not versions:
        raise UsageError(
            f"engine {engine!a} is not known: use {' or '.join(dict.fromkeys(spec.name for spec in SPECS))}"
        )
    for spec in versions:
        if version in ("", spec.version):
            return spec
    raise UsageError(
        f"{engine} {version!a} is not one of the versions that this cms has: use {' or '.join(pinned_versions(engine))}"
    )


def pinned_versions(engine: str) -> list[str]:
    """Return the versions of `engine` that are pinned, the oldest first."""
    return sorted((spec.version for spec in SPECS if spec.name == engine), key=version_numbers)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of "1.10.5", by which versions are compared; what follows them ("-beta.1") does not count."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


_IMAGES = resources.files("cloudmesh.images")


def _nomad(version: str, checksums: Mapping[str, str]) -> EngineSpec:
    """Return a version of Nomad.

    Args:
        version: without a "v".
        checksums: SHA-256 of the zip file of the release, by architecture; empty: it is built from its module.
    """
    download = Download(
        url="https://releases.hashicorp.com/nomad/{version}/nomad_{version}_linux_{arch}.zip",
        sha256=checksums,
        members={"nomad": "nomad"},
    )
    build = Build(
        module=_IMAGES / "nomad" / "engine" / version,
        packages={"nomad": "github.com/hashicorp/nomad"},
        tags="osusergo,netgo",  # the static binary must not ask the C library for users and names
        cgo=True,  # for runc's nsenter, which is part of Nomad
    )
    return EngineSpec("nomad", version, ("nomad",), (download,) if checksums else (), (build,))


# The checksums of the zip files are those in HashiCorp's Homebrew formula for this version.
NOMAD = _nomad(
    "1.10.5",
    {
        "amd64": "4242244ab1f6887e963d6bb674ac490ee9b270a29aff6f826c51ef3187c77044",
        "arm64": "a24f3f3d230ceacdef3c69cf264ffa913d2cf90fd862d26d36c87a6d04512e22",
    },
)

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
_FLANNEL = "v0.28.4"
# What puts a snapshot into place reads those of every etcd 3.6.
_ETCDUTL = "3.6.8"


def _kubernetes(version: str, released: str, *, etcd: str, coredns: str, pause: str) -> EngineSpec:
    """Return a version of Kubernetes, with the versions of etcd, CoreDNS and pause that its kubeadm names.

    There are no downloads, only mirrors and builds, since no checksums of the releases' binaries are published where
    they could be pinned from.

    Args:
        version: without a "v".
        released: when, as its binaries tell it.
        etcd: the version, without a "v".
        coredns: the version, without a "v".
        pause: the tag of its image.
    """
    # What a build in Kubernetes' repository would take from git.
    told = {
        "gitVersion": f"v{version}",
        "gitMajor": "1",
        "gitMinor": version.split(".")[1],
        "gitCommit": "",
        "gitTreeState": "archive",
        "buildDate": released,
    }
    flags = [
        f"-X {package}.{name}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in told.items()
    ]
    builds = (
        Build(
            module=_KUBERNETES_MODULES / "kubernetes" / version,
            packages={name: f"k8s.io/kubernetes/cmd/{name}" for name in _COMMANDS},
            ldflags=" ".join(["-s -w", *flags]),
            tags=f"selinux,{_SHARED_TAG},grpcnotrace",
        ),
        Build(module=_KUBERNETES_MODULES / "etcd" / etcd, packages={"etcd": "go.etcd.io/etcd/server/v3"}),
        Build(module=_KUBERNETES_MODULES / "etcd" / _ETCDUTL, packages={"etcdutl": "go.etcd.io/etcd/etcdutl/v3"}),
        Build(
            module=_KUBERNETES_MODULES / "coredns" / coredns,
            packages={"coredns": "."},
            tags=_SHARED_TAG,
        ),
        Build(
            module=_KUBERNETES_MODULES / "flannel",
            packages={"flanneld": "github.com/flannel-io/flannel"},
            ldflags=f"-s -w -X github.com/flannel-io/flannel/pkg/version.Version={_FLANNEL}",
            tags=f"osusergo,netgo,{_SHARED_TAG}",
            cgo=True,  # for its UDP backend
        ),
        Build(
            module=_KUBERNETES_MODULES / "cni",
            packages={"flannel": "github.com/containernetworking/plugins/plugins/meta/flannel"},
        ),
        Build(module=_KUBERNETES_MODULES / "pause", packages={"pause": "."}),
    )
    files = (*_COMMANDS, "etcd", "etcdutl", "coredns", "flanneld", "flannel", "pause")
    tags = dict.fromkeys(_COMMANDS, f"v{version}")
    tags |= {"etcd": f"{etcd}-0", "coredns": f"v{coredns}", "pause": pause, "flannel": _FLANNEL}
    return EngineSpec("kubernetes", version, files, (), builds, tags)


KUBERNETES = _kubernetes("1.36.3", "2026-07-22T18:07:38Z", etcd="3.6.8", coredns="1.14.2", pause="3.10.2")

SPECS = (
    NOMAD,
    _nomad("1.10.4", {}),
    _nomad("1.11.1", {}),
    KUBERNETES,
    _kubernetes("1.36.1", "2026-05-12T09:51:33Z", etcd="3.6.8", coredns="1.14.2", pause="3.10.2"),
    _kubernetes("1.35.4", "2026-04-15T18:01:22Z", etcd="3.6.6", coredns="1.13.1", pause="3.10.1"),
)
"""All that is pinned. The first of an engine is what new clusters get: of Nomad, the newest with long-term support."""
