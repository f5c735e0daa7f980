"""Kubernetes' own engine files: what is pinned, how Go builds several at once, and what came out where it was built."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.binaries import BUILT, Collected, cache, get, toys

from cloudmesh.cluster.binaries.pinned import KUBERNETES, SPECS, EngineSpec

__all__ = ["cache"]

needs_go = pytest.mark.skipif(not shutil.which("go"), reason="needs Go")
PAUSE = next(build for build in KUBERNETES.builds if "pause" in build.packages)
VERSIONS = [spec for spec in SPECS if spec.name == "kubernetes"]


needs_built = pytest.mark.skipif(not BUILT, reason="`cms cluster engines -p kubernetes` was not run here")


def sources(spec: EngineSpec, file: str) -> dict[str, str]:
    """The module that one of the files is built from."""
    return next(build for build in spec.builds if file in build.packages).sources()


@pytest.mark.parametrize("spec", VERSIONS, ids=lambda spec: spec.version)
@pytest.mark.parametrize(
    ("file", "module", "tag"),
    [
        ("kubelet", "k8s.io/kubernetes", "kubelet"),
        ("etcd", "go.etcd.io/etcd/server/v3", "etcd"),
        ("coredns", "github.com/coredns/coredns", "coredns"),
        ("flanneld", "github.com/flannel-io/flannel", "flannel"),
    ],
)
def test_each_module_builds_the_version_that_is_pinned(spec: EngineSpec, file: str, module: str, tag: str) -> None:
    files = sources(spec, file)
    version = f"v{spec.tags[tag].removeprefix('v').removesuffix('-0')}"

    assert re.search(
        rf"^(require|\t)\s*{re.escape(module)} {re.escape(version)}( // indirect)?$", files["go.mod"], re.MULTILINE
    )
    assert f"{module} {version} h1:" in files["go.sum"]


def test_what_puts_a_snapshot_into_place_is_of_the_newest_etcd() -> None:
    version = KUBERNETES.tags["etcd"].removesuffix("-0")
    assert all(f"go.etcd.io/etcd/etcdutl/v3 v{version} h1:" in sources(spec, "etcdutl")["go.sum"] for spec in VERSIONS)


def test_the_network_plugin_is_of_the_last_version_that_is_a_module() -> None:
    assert "github.com/containernetworking/plugins v0.9.1 h1:" in sources(KUBERNETES, "flannel")["go.sum"]


@pytest.mark.parametrize("spec", VERSIONS, ids=lambda spec: spec.version)
def test_every_staging_module_is_of_the_same_release(spec: EngineSpec) -> None:
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (\S+) (\S+)$", sources(spec, "kubelet")["go.mod"], re.MULTILINE)

    assert len(replaced) > 30
    assert all(name == target and version == f"v0{spec.version[1:]}" for name, target, version in replaced)


def test_go_names_files_that_are_built_at_once_as_the_engine_does() -> None:
    for build in KUBERNETES.builds:
        if len(build.packages) > 1:
            assert {package.rpartition("/")[2]: package for package in build.packages.values()} == build.packages


@needs_go
def test_several_files_of_a_module_come_from_one_build(tmp_path: Path, cache: Path) -> None:
    sources = {
        name: f"package main\n\nfunc main() {{ println({answer}) }}\n" for name, answer in (("one", 1), ("two", 2))
    }
    bundle = get(toys(tmp_path, sources), report=(report := Collected()))

    answers = [subprocess.run([file.path], capture_output=True, text=True, check=True).stderr for file in bundle.files]
    assert answers == ["1\n", "2\n"]
    assert str(report).count("building one and 1 more for toy 1.0") == 1


def just_pause(directory: Path) -> EngineSpec:
    """The engine with a copy of the pause module alone."""
    for name, text in PAUSE.sources().items():
        (directory / name).write_text(text)
    return replace(KUBERNETES, files=("pause",), builds=(replace(PAUSE, module=directory),))


@needs_go
def test_a_program_of_our_own_is_built_from_its_source_which_is_pinned(tmp_path: Path, cache: Path) -> None:
    spec = just_pause(tmp_path)
    first = get(spec).files[0].sha256
    pins = spec.pins()

    (tmp_path / "main.go").write_text(PAUSE.sources()["main.go"].replace("os.Exit(0)", "os.Exit(1)"))

    assert spec.pins() != pins
    assert get(spec).files[0].sha256 != first


@needs_go
def test_pause_reaps_orphans_and_ends_when_it_is_told_to(tmp_path: Path, cache: Path) -> None:
    binary = get(just_pause(tmp_path)).files[0].path
    # After exec, the program has the children that the shell started, and nobody else waits for them.
    shell = f"sleep 0.1 & sleep 0.1 & exec {binary}"
    with subprocess.Popen(["sh", "-c", shell]) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if Path(f"/proc/{process.pid}/exe").readlink() == binary and not children.read_text():
                break
            time.sleep(0.05)
        assert not children.read_text()
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@needs_built
@pytest.mark.parametrize(
    ("file", "arguments", "answer"),
    [
        ("kubeadm", ["version", "-o", "short"], r"v1\.36\.3\n"),
        ("kubelet", ["--version"], r"Kubernetes v1\.36\.3\n"),
        ("kube-apiserver", ["--version"], r"Kubernetes v1\.36\.3\n"),
        ("kubectl", ["version", "--client"], r"Client Version: v1\.36\.3\n"),
        ("etcd", ["--version"], r"etcd Version: 3\.6\.8\n"),
        ("etcdutl", ["version"], r"etcdutl version: 3\.6\.8\n"),
        ("coredns", ["-version"], r"CoreDNS-1\.14\.2\n"),
        ("flanneld", ["--version"], r"v0\.28\.4\n"),
    ],
)
def test_what_was_built_tells_its_version(file: str, arguments: list[str], answer: str) -> None:
    ran = subprocess.run([BUILT[file], *arguments], capture_output=True, text=True, check=True)

    assert re.search(answer, ran.stdout + ran.stderr)


@needs_built
@pytest.mark.parametrize("file", KUBERNETES.files)
def test_what_was_built_runs_on_a_host_of_any_c_library(file: str) -> None:
    listing = subprocess.run(["readelf", "--program-headers", BUILT[file]], capture_output=True, text=True, check=True)

    assert "LOAD" in listing.stdout
    assert "INTERP" not in listing.stdout
