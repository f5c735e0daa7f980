"""The control plane's images, put into a real registry without a Docker daemon."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from support.binaries import BUILT, Collected
from support.registry import BINARY, RegistryProcess

from cloudmesh.cluster.binaries.cache import BinaryBundle, BinaryFile
from cloudmesh.cluster.binaries.pinned import KUBERNETES
from cloudmesh.cluster.core.errors import NotFoundError, UsageError
from cloudmesh.cluster.images import layers
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.providers.kubernetes.control_plane_images import BASE, deliver_images, images
from cloudmesh.cluster.providers.kubernetes.control_plane_images import reference as reference_of

needs_registry = pytest.mark.skipif(not BINARY, reason="docker-registry is not installed")
PROGRAMS = {"/usr/sbin/iptables": b"iptables"}
IMAGES = images(KUBERNETES.version)


def reference(name: str, repository: str = "kubernetes") -> str:
    return reference_of(name, KUBERNETES.version, repository)


@contextmanager
def registry_with_base(directory: Path) -> Iterator[RegistryProcess]:
    """A registry that has the base already, and no Docker daemon within reach."""
    with RegistryProcess(directory) as process, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
        (directory / "iptables").write_bytes(b"iptables")
        layer = layers.pack_program(directory / "iptables", "/usr/sbin/iptables", directory / "layer")
        repository, _, tag = BASE.tag().partition(":")
        Registry(process.port).put_image(repository, tag, layer, {"Env": ["A=b"], "Cmd": ["bash"]}, content="")
        yield process


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryProcess]:
    with registry_with_base(tmp_path) as process:
        yield process


@pytest.fixture
def registry(server: RegistryProcess) -> Registry:
    return Registry(server.port)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> BinaryBundle:
    """An engine whose files are a few bytes each."""
    folder = tmp_path_factory.mktemp("engine")
    return BinaryBundle(
        "kubernetes", "1.36.3", "amd64", "", tuple(engine_file(folder, name) for name in KUBERNETES.files)
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, bundle: BinaryBundle) -> Iterator[RegistryProcess]:
    """A registry into which all images were delivered, once."""
    with registry_with_base(tmp_path_factory.mktemp("filled")) as process:
        deliver_images(Registry(process.port), bundle, report=Collected())
        yield process


def engine_file(directory: Path, name: str, content: bytes = b"") -> BinaryFile:
    content = content or name.encode() * 100
    path = directory / f"engine-{name}"
    path.write_bytes(content)
    return BinaryFile(name, path, hashlib.sha256(content).hexdigest(), len(content))


def pulled(server: RegistryProcess, name: str) -> tuple[dict[str, Any], list[tarfile.TarInfo], dict[str, bytes]]:
    """Return the image's configuration, the members of its layers and their contents, every digest checked."""
    repository, _, tag = name.partition(":")
    base = f"http://127.0.0.1:{server.port}/v2/{repository}"
    answer = requests.get(f"{base}/manifests/{tag}", headers={"Accept": layers.MANIFEST}, timeout=10)
    assert answer.headers["Content-Type"] == layers.MANIFEST
    manifest = answer.json()

    def blob(about: dict[str, Any]) -> bytes:
        content = requests.get(f"{base}/blobs/{about['digest']}", timeout=10).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (about["size"], about["digest"][7:])
        return content

    config = json.loads(blob(manifest["config"]))
    unpacked = [gzip.decompress(blob(layer)) for layer in manifest["layers"]]
    assert {layer["mediaType"] for layer in manifest["layers"]} == {layers.LAYER}
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in unpacked]
    assert len(config["history"]) == len(unpacked)
    members, contents = [], {}
    for layer in unpacked:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file
                members.append(member)
                contents[f"/{member.name}"] = file.read()
    return config, members, contents


def methods(server: RegistryProcess, since: int) -> set[str]:
    return {method for method, _ in server.requests()[since:]}


@needs_registry
def test_each_image_is_one_program_that_it_runs(filled: RegistryProcess) -> None:
    for image in IMAGES:
        config, members, contents = pulled(filled, reference(image.name))
        below = PROGRAMS if image.on_base else {}
        assert contents == {**below, image.program: image.file.encode() * 100}
        assert {(member.mode, member.uid, member.gid) for member in members} == {(0o755, 0, 0)}
        assert config["config"]["Entrypoint"] == [image.program]
        assert not config["config"]["Cmd"]
        assert (config["os"], config["architecture"]) == ("linux", "amd64")


@needs_registry
def test_pause_does_not_run_as_root(filled: RegistryProcess) -> None:
    assert pulled(filled, reference("pause"))[0]["config"]["User"] == "65535:65535"


@needs_registry
def test_what_is_there_is_not_sent_again(filled: RegistryProcess, bundle: BinaryBundle) -> None:
    before = len(filled.requests())
    deliver_images(Registry(filled.port), bundle, report=(report := Collected()))

    assert methods(filled, before) == {"GET"}
    assert str(report) == "kubernetes 1.36.3"


@needs_registry
def test_only_the_image_of_a_changed_file_is_made_again(
    registry: Registry, server: RegistryProcess, bundle: BinaryBundle, tmp_path: Path
) -> None:
    deliver_images(registry, bundle, report=Collected())
    changed = engine_file(tmp_path, "etcd", b"another etcd")
    files = tuple(changed if file.name == "etcd" else file for file in bundle.files)
    deliver_images(registry, replace(bundle, files=files), report=(report := Collected()))

    assert report.lines == ["send etcd to the cluster", "kubernetes 1.36.3"]
    assert pulled(server, reference("etcd"))[2] == {"/usr/local/bin/etcd": b"another etcd"}


@needs_registry
def test_the_base_is_shared_by_the_images_on_it(filled: RegistryProcess) -> None:
    mounted = [path for method, path in filled.requests() if method == "POST" and "mount=" in path]
    assert len(mounted) == sum(image.on_base for image in IMAGES) == 2


@needs_registry
def test_a_base_of_another_architecture_is_refused(registry: Registry, bundle: BinaryBundle) -> None:
    with pytest.raises(NotFoundError, match=r"kubernetes-base:\S+ is not for linux/arm64"):
        deliver_images(registry, replace(bundle, arch="arm64"), report=Collected())


@needs_registry
def test_an_image_of_others_is_replaced(registry: Registry, server: RegistryProcess, bundle: BinaryBundle) -> None:
    repository, _, tag = reference("pause", "other").partition(":")
    layer = layers.describe_layer(gzip.compress(b"", mtime=0))
    registry.put_image(repository, tag, layer, {}, content="of another version of cms")
    deliver_images(registry, bundle, "other", report=Collected())

    assert pulled(server, reference("pause", "other"))[2] == {"/pause": b"pause" * 100}


def test_a_layer_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    file = engine_file(tmp_path, "etcd", bytes(range(256)) * 9000).path
    first = layers.pack_program(file, "/etcd", tmp_path / "first")
    file.touch()
    second = layers.pack_program(file, "/etcd", tmp_path / "second")

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert replace(first, content=b"") == replace(second, content=b"")
    assert first == replace(layers.describe_layer((tmp_path / "first").read_bytes()), content=tmp_path / "first")


def test_the_images_of_another_version_have_the_tags_that_its_kubeadm_names() -> None:
    tags = {image.name: image.tag for image in images("1.36.1")}
    assert (tags["kube-proxy"], tags["etcd"], tags["coredns"], tags["pause"]) == (
        *("v1.36.1", "3.6.8-0", "v1.14.2", "3.10.2"),
    )
    assert reference_of("kube-proxy", "1.36.1", "there") == "there/kube-proxy:v1.36.1"
    with pytest.raises(UsageError, match=r"kubernetes '1\.30\.0' is not one of the versions"):
        images("1.30.0")


@pytest.mark.skipif(not BUILT, reason="`cms cluster engines -p kubernetes` was not run here")
def test_the_images_are_those_that_kubeadm_asks_for() -> None:
    command = [BUILT["kubeadm"], "config", "images", "list", "--image-repository", "host:5443/kubernetes"]
    listed = subprocess.run(
        [*command, "--kubernetes-version", f"v{KUBERNETES.version}"], capture_output=True, text=True, check=True
    )

    assert listed.stdout.split() == [
        reference(image.name, "host:5443/kubernetes") for image in IMAGES if image.name != "flannel"
    ]
