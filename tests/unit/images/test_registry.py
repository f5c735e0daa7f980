"""The registry client against a real registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.registry import BINARY, RegistryProcess

from cloudmesh.cluster.core.errors import ImageError, NotFoundError, UsageError
from cloudmesh.cluster.images.registry import Registry

pytestmark = pytest.mark.skipif(not BINARY, reason="docker-registry is not installed")

OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_OF = {
    OCI: "application/vnd.oci.image.config.v1+json",
    DOCKER: "application/vnd.docker.container.image.v1+json",
}
LAYER_OF = {
    OCI: "application/vnd.oci.image.layer.v1.tar+gzip",
    DOCKER: "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryProcess]:
    with RegistryProcess(tmp_path) as process:
        yield process


@pytest.fixture
def registry(server: RegistryProcess) -> Registry:
    return Registry(server.port)


@pytest.fixture(scope="module")
def unasked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """A registry to which nothing is sent."""
    with RegistryProcess(tmp_path_factory.mktemp("unasked")) as process:
        yield process


def methods(server: RegistryProcess, since: int) -> set[str]:
    """Return the methods of the requests after the first `since`."""
    return {method for method, _ in server.requests()[since:]}


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(archive.getvalue(), mtime=0)


class Raw:
    """What a test sends and asks without the client that it tests."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}/v2"

    def put_manifest(self, repo: str, ref: str, media_type: str, manifest: dict[str, Any]) -> bytes:
        content = json.dumps({"schemaVersion": 2, "mediaType": media_type, **manifest}).encode()
        url = f"{self.base}/{repo}/manifests/{ref}"
        requests.put(url, data=content, headers={"Content-Type": media_type}, timeout=10).raise_for_status()
        return content

    def manifest(self, repo: str, ref: str, media_type: str) -> dict[str, Any]:
        answer = requests.get(f"{self.base}/{repo}/manifests/{ref}", headers={"Accept": media_type}, timeout=10)
        assert answer.headers["Content-Type"] == media_type
        return answer.json()

    def blob(self, repo: str, which: str) -> bytes:
        answer = requests.get(f"{self.base}/{repo}/blobs/{which}", timeout=10)
        answer.raise_for_status()
        return answer.content


@pytest.fixture
def raw(server: RegistryProcess) -> Raw:
    return Raw(server.port)


def image(registry: Registry, raw: Raw, media_type: str, ref: str = "1", *, history: bool = True) -> bytes:
    """Put an image of two layers into the registry as `base/image:REF`; return its manifest."""
    layers = [layer("one", b"1" * 50_000), layer("two", b"2")]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/run"], "User": "185"},
        "rootfs": {"type": "layers", "diff_ids": [digest(gzip.decompress(archive)) for archive in layers]},
        **({"history": [{"created_by": "one"}, {"created_by": "ENV", "empty_layer": True}, {}]} if history else {}),
    }
    content = json.dumps(config).encode()
    for blob in (content, *layers):
        registry.put_blob("base/image", blob)
    descriptors = [
        {"mediaType": LAYER_OF[media_type], "size": len(archive), "digest": digest(archive)} for archive in layers
    ]
    about = {"mediaType": CONFIG_OF[media_type], "size": len(content), "digest": digest(content)}
    return raw.put_manifest("base/image", ref, media_type, {"config": about, "layers": descriptors})


def test_a_blob_is_there_once_it_has_been_put(registry, raw):
    content = b"engine" * 1000
    assert not registry.has_blob("cloudmesh/engine", digest(content))
    assert registry.put_blob("cloudmesh/engine", content) == digest(content)
    assert registry.has_blob("cloudmesh/engine", digest(content))
    assert raw.blob("cloudmesh/engine", digest(content)) == content


def test_a_file_is_put_as_it_is(registry, raw, tmp_path):
    file = tmp_path / "nomad"
    file.write_bytes(bytes(range(256)) * 20_000)
    assert raw.blob("cloudmesh/engine", registry.put_blob("cloudmesh/engine", file)) == file.read_bytes()


def test_a_blob_that_is_there_is_not_sent_again(registry, server):
    registry.put_blob("cloudmesh/engine", b"once")
    before = len(server.requests())
    registry.put_blob("cloudmesh/engine", b"once")
    assert methods(server, before) == {"HEAD"}


@pytest.mark.parametrize("media_type", [OCI, DOCKER])
def test_an_appended_layer_comes_last_and_is_described_rightly(registry, raw, media_type):
    base = json.loads(image(registry, raw, media_type))
    job = layer("job.py", b"print()")
    made = registry.append_layer("base/image", "1", job, "cms-jobs/pi", "abc")

    manifest = raw.manifest("cms-jobs/pi", "abc", media_type)
    assert manifest["mediaType"] == media_type
    assert manifest["layers"] == [
        *base["layers"],
        {"mediaType": LAYER_OF[media_type], "size": len(job), "digest": digest(job)},
    ]
    content = raw.blob("cms-jobs/pi", manifest["config"]["digest"])
    assert manifest["config"] == {"mediaType": CONFIG_OF[media_type], "size": len(content), "digest": digest(content)}
    config = json.loads(content)
    assert config["rootfs"]["diff_ids"][2] == digest(gzip.decompress(job))
    assert len([entry for entry in config["history"] if not entry.get("empty_layer")]) == 3
    assert config["config"] == {"Entrypoint": ["/run"], "User": "185"}
    assert registry.has_manifest("cms-jobs/pi", made)


def test_an_image_without_a_history_is_given_none(registry, raw):
    image(registry, raw, OCI, history=False)
    registry.append_layer("base/image", "1", layer("job.py", b""), "cms-jobs/pi", "abc")
    manifest = raw.manifest("cms-jobs/pi", "abc", OCI)
    assert "history" not in json.loads(raw.blob("cms-jobs/pi", manifest["config"]["digest"]))


def test_the_layers_of_the_base_are_shared_not_copied(registry, raw, server):
    image(registry, raw, DOCKER)
    job = layer("job.py", b"print()")
    before = server.stored()
    registry.append_layer("base/image", "1", job, "cms-jobs/pi", "abc")
    assert server.stored() - before < len(job) + 4000
    assert len([1 for method, path in server.requests() if method == "POST" and "mount=" in path]) == 2


def test_of_an_image_made_before_the_manifest_alone_is_written_again(registry, raw, server):
    image(registry, raw, DOCKER)
    job = layer("job.py", b"print()")
    made = registry.append_layer("base/image", "1", job, "cms-jobs/pi", "abc")
    before = len(server.requests())
    assert registry.append_layer("base/image", "1", job, "cms-jobs/pi", "abc") == made
    assert methods(server, before) == {"GET", "PUT"}, "its manifest is read, and written again: it is as new"
    assert not [request for request in server.requests()[before:] if "/blobs/" in str(request)]


def test_the_same_layer_on_the_same_image_is_the_same_image(registry, raw):
    image(registry, raw, OCI)
    job = layer("job.py", b"print()")
    first = registry.append_layer("base/image", "1", job, "cms-jobs/one", "abc")
    assert registry.append_layer("base/image", "1", job, "cms-jobs/two", "xyz") == first


def test_a_layer_goes_onto_the_part_of_an_index_that_runs_here(registry, raw):
    content = image(registry, raw, OCI)
    entry = {"mediaType": OCI, "size": len(content), "digest": digest(content)}
    other = {**entry, "platform": {"os": "unknown", "architecture": "unknown"}}
    ours = {**entry, "platform": {"os": "linux", "architecture": "amd64"}}
    raw.put_manifest("base/image", "all", "application/vnd.oci.image.index.v1+json", {"manifests": [other, ours]})
    registry.append_layer("base/image", "all", layer("job.py", b""), "cms-jobs/pi", "abc")
    assert len(raw.manifest("cms-jobs/pi", "abc", OCI)["layers"]) == 3


def test_an_index_without_a_part_that_runs_here_is_told_so(registry, raw):
    content = image(registry, raw, OCI)
    entry = {"mediaType": OCI, "size": len(content), "digest": digest(content)}
    entry["platform"] = {"os": "linux", "architecture": "s390x"}
    raw.put_manifest("base/image", "all", "application/vnd.oci.image.index.v1+json", {"manifests": [entry]})
    with pytest.raises(NotFoundError, match="linux/amd64"):
        registry.append_layer("base/image", "all", layer("job.py", b""), "cms-jobs/pi", "abc")


def test_an_image_that_is_not_there_is_not_found(registry):
    assert not registry.has_manifest("cloudmesh/spark", "4.0.1")
    with pytest.raises(NotFoundError, match=r"cloudmesh/spark:4\.0\.1"):
        registry.append_layer("cloudmesh/spark", "4.0.1", layer("job.py", b""), "cms-jobs/pi", "abc")


@pytest.mark.parametrize("name", ["", "a/../b", "a//b", "/a", "a?x=1", "A", "a b", "a\n", "$(id)", "a" * 256])
def test_a_bad_repository_is_refused_before_anything_is_sent(unasked, name):
    registry = Registry(unasked.port)
    for ask in (
        lambda: registry.has_manifest(name, "1"),
        lambda: registry.put_blob(name, b""),
        lambda: registry.append_layer("base/image", "1", b"", name, "1"),
    ):
        with pytest.raises(UsageError, match="not valid"):
            ask()
    assert unasked.requests() == []


@pytest.mark.parametrize("ref", ["../1", "a/b", "a?b", "-a", "a\n", "a" * 129, "sha256:xyz"])
def test_a_bad_tag_is_refused_before_anything_is_sent(unasked, ref):
    with pytest.raises(UsageError, match="not valid"):
        Registry(unasked.port).has_manifest("cloudmesh/spark", ref)
    assert unasked.requests() == []


def test_a_site_proxy_is_not_asked_for_what_is_on_loopback(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert not Registry(server.port).has_manifest("cloudmesh/spark", "1")


def test_a_registry_that_does_not_answer_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ImageError, match=r"does not answer: .*refused") as error:
        Registry(port).has_manifest("cloudmesh/spark", "1")
    assert "\n" not in str(error.value)


def test_what_the_registry_refuses_is_told_in_its_words(registry, raw, monkeypatch):
    image(registry, raw, DOCKER)
    monkeypatch.setattr(registry, "put_blob", lambda *_: "")  # so that the manifest names what is not there
    with pytest.raises(ImageError, match=r"refused PUT /v2/cms-jobs/pi/manifests/abc: .*blob unknown"):
        registry.append_layer("base/image", "1", layer("job.py", b""), "cms-jobs/pi", "abc")


def test_an_image_that_somebody_else_is_storing_is_read_a_moment_later(
    server: RegistryProcess, registry: Registry, tmp_path: Path
) -> None:
    config = registry.put_blob("app", b"{}")
    entry = {"mediaType": CONFIG_OF[OCI], "digest": config, "size": 2}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": entry, "layers": []}).encode()
    stored = registry.put_manifest("app", "new", manifest, OCI)
    (link,) = (tmp_path / "data").glob("**/app/_manifests/tags/new/current/link")
    content = link.read_bytes()
    link.write_bytes(b"")  # as the registry itself begins to write it
    threading.Timer(0.5, lambda: link.write_bytes(content)).start()
    assert registry.digest("app", "new") == stored
    assert ("HEAD", "/v2/app/manifests/new") in server.requests()[-3:-1], "it was never refused"
