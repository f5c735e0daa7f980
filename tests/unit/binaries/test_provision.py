"""Engine files from a cache, mirrors and a release site, over real files and a real HTTP server."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import json
import shutil
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.binaries import Collected, cache, cached_files, get

from cloudmesh.cluster.binaries.cache import BinaryBundle, SourceUnavailableError
from cloudmesh.cluster.binaries.fetch import fetch
from cloudmesh.cluster.binaries.pinned import NOMAD, SPECS, Download, EngineSpec
from cloudmesh.cluster.binaries.provision import file_rows, list_files, provide
from cloudmesh.cluster.core.errors import BinaryError, ClusterError, UsageError

CONTENT = bytes(range(256)) * 8192
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64

__all__ = ["cache"]


class Site(http.server.ThreadingHTTPServer):
    """Serves `routes`: status, headers and body by path. `requested` has the paths of the requests so far."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.requested: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def add(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        fields = {"Content-Length": str(len(body))} | {name.replace("_", "-"): text for name, text in headers.items()}
        self.routes[path] = (status, fields, body)

    def add_tree(self, directory: Path, below: str = "") -> None:
        for file in directory.rglob("*"):
            if file.is_file():
                self.add(f"{below}/{file.relative_to(directory)}", file.read_bytes())


class Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        status, fields, body = self.server.routes.get(self.path, (404, {"Content-Length": "0"}, b""))
        self.send_response(status)
        for name, text in fields.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def zipped(content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        # Without the time of day, which may have moved on when the same is made a second time.
        file.writestr(zipfile.ZipInfo("LICENSE.txt"), "free")
        file.writestr(zipfile.ZipInfo("toy"), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tarred(content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        member = tarfile.TarInfo("toy-1.0/toy")
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def spec_of(url: str, served: bytes, member: str = "toy") -> EngineSpec:
    digest = hashlib.sha256(served).hexdigest()
    download = Download(url=url, sha256={"amd64": digest}, members={"toy": member})
    return EngineSpec(name="toy", version="1.0", files=("toy",), downloads=(download,), builds=())


@pytest.fixture
def toy(site: Site) -> EngineSpec:
    """An engine that the site serves as its pins say."""
    site.add("/toy_1.0_amd64.zip", zipped())
    return spec_of(site.url + "/toy_{version}_{arch}.zip", zipped())


@pytest.fixture
def mirror(toy: EngineSpec, site: Site, cache: Path, tmp_path: Path) -> Path:
    """A copy of a filled cache; the cache is empty again and the release site has nothing."""
    get(toy)
    directory = tmp_path / "mirror"
    shutil.copytree(cache, directory)
    shutil.rmtree(cache)
    site.routes.clear()
    site.requested.clear()
    return directory


def test_a_release_is_verified_unpacked_and_cached(toy: EngineSpec, site: Site, cache: Path) -> None:
    first = get(toy)
    site.routes.clear()
    second = get(toy)

    assert first == second
    assert first.source == "release 127.0.0.1"
    assert [(file.name, file.sha256, file.size) for file in first.files] == [("toy", DIGEST, len(CONTENT))]
    assert first.files[0].path.read_bytes() == CONTENT
    assert first.files[0].path.stat().st_mode & 0o111
    assert cached_files(cache) == ["toy/1.0/linux_amd64/manifest.json", "toy/1.0/linux_amd64/toy"]
    assert site.requested == ["/toy_1.0_amd64.zip"]


@pytest.mark.parametrize(("name", "body", "member"), [("t.tar.gz", tarred(), "toy-1.0/toy"), ("t", CONTENT, "")])
def test_a_release_may_be_a_tar_archive_or_the_binary_itself(site: Site, name: str, body: bytes, member: str) -> None:
    site.add(f"/{name}", body)

    assert get(spec_of(f"{site.url}/{name}", body, member)).files[0].sha256 == DIGEST


def test_a_download_reports_how_far_it_is(toy: EngineSpec) -> None:
    report = Collected()
    get(toy, report=report)

    assert "downloading toy 1.0 from 127.0.0.1: 100 %" in str(report)


def test_a_release_with_another_checksum_is_refused_and_nothing_of_it_stays(
    toy: EngineSpec, site: Site, cache: Path
) -> None:
    site.add("/toy_1.0_amd64.zip", zipped(b"evil"))

    with pytest.raises(BinaryError, match=r"toy_1\.0_amd64\.zip: wrong checksum, the file was deleted"):
        get(toy)
    assert cached_files(cache) == []


def test_a_truncated_release_is_refused_and_nothing_of_it_stays(toy: EngineSpec, site: Site, cache: Path) -> None:
    site.add("/toy_1.0_amd64.zip", zipped()[:-100], Content_Length=str(len(zipped())))

    with pytest.raises(BinaryError, match=r"toy_1\.0_amd64\.zip: the transfer was cut"):
        get(toy)
    assert cached_files(cache) == []


def test_what_no_source_has_is_an_error_that_names_each_cause(toy: EngineSpec, site: Site) -> None:
    site.routes.clear()

    with pytest.raises(
        BinaryError, match=r"toy 1\.0 for amd64 is not to be had: .*answered 404.*not built from source"
    ):
        get(toy)


def test_an_architecture_without_a_pinned_checksum_is_not_downloaded(toy: EngineSpec, site: Site) -> None:
    with pytest.raises(BinaryError, match="no checksum is pinned for arm64"):
        get(toy, arch="arm64")
    assert site.requested == []


def test_a_closed_port_is_named_with_its_cause() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nothing else can take it meanwhile
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/t"
        with pytest.raises(BinaryError, match=rf"{url}: .*Connection refused"):
            get(spec_of(url, CONTENT, ""))


def test_a_server_that_does_not_answer_costs_bounded_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(SourceUnavailableError, match=r"no answer in"):
            fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/x", tmp_path / "x", patience=0.4)
        assert time.monotonic() - began < 2


def test_redirects_over_http_are_followed(toy: EngineSpec, site: Site) -> None:
    site.add("/elsewhere.zip", zipped())
    site.add("/toy_1.0_amd64.zip", b"", status=302, Location="/elsewhere.zip")

    assert get(toy).files[0].sha256 == DIGEST


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("file:///etc/passwd", "redirected to file:///etc/passwd, which is refused"),
        ("ftp://host/x", "which is refused"),
        ("/toy_1.0_amd64.zip", "redirected more than 5 times"),
    ],
)
def test_redirects_elsewhere_or_without_end_are_refused(
    toy: EngineSpec, site: Site, target: str, complaint: str
) -> None:
    site.add("/toy_1.0_amd64.zip", b"", status=302, Location=target)

    with pytest.raises(BinaryError, match=complaint):
        get(toy)


def test_a_copy_of_the_cache_is_a_mirror(toy: EngineSpec, mirror: Path) -> None:
    bundle = get(toy, mirror)

    assert bundle.files[0].path.read_bytes() == CONTENT
    assert bundle.source == f"mirror {mirror} (release 127.0.0.1)"


def test_a_copy_of_the_cache_on_a_web_server_is_a_mirror(
    toy: EngineSpec, mirror: Path, site: Site, cache: Path
) -> None:
    site.add_tree(mirror, "/engines")
    bundle = get(toy, f"{site.url}/engines/")

    assert bundle.files[0].path.read_bytes() == CONTENT
    assert bundle.files[0].path.is_relative_to(cache)
    assert set(site.requested) == {"/engines/toy/1.0/linux_amd64/manifest.json", "/engines/toy/1.0/linux_amd64/toy"}


def test_a_mirrors_manifest_can_be_pinned(toy: EngineSpec, mirror: Path, cache: Path) -> None:
    manifest = (mirror / "toy/1.0/linux_amd64/manifest.json").read_bytes()

    with pytest.raises(BinaryError, match=r"manifest\.json: wrong checksum"):
        get(toy, f"{mirror}#sha256={OTHER}")
    assert cached_files(cache) == []
    assert get(toy, f"{mirror}#sha256={hashlib.sha256(manifest).hexdigest()}").files[0].sha256 == DIGEST


def change(file: Path) -> None:
    file.write_bytes(b"evil")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [change, cut])
@pytest.mark.parametrize("remote", [False, True])
def test_a_mirror_that_belies_its_manifest_is_refused_and_the_file_named(
    toy: EngineSpec, mirror: Path, site: Site, cache: Path, damage: Callable[[Path], None], remote: bool
) -> None:
    damage(mirror / "toy/1.0/linux_amd64/toy")
    site.add_tree(mirror)

    with pytest.raises(BinaryError, match=r"toy/1\.0/linux_amd64/toy: wrong checksum, the file was deleted") as caught:
        get(toy, site.url if remote else mirror)
    assert DIGEST in str(caught.value)
    assert cached_files(cache) == []
    assert (mirror / "toy/1.0/linux_amd64/toy").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", "<html>", '{"engine": "toy", "files": {"toy": 3}}'])
def test_a_malformed_manifest_is_refused(toy: EngineSpec, mirror: Path, text: str) -> None:
    (mirror / "toy/1.0/linux_amd64/manifest.json").write_text(text)

    with pytest.raises(BinaryError, match=r"manifest\.json: not a manifest of toy 1\.0"):
        get(toy, mirror)


def test_a_mirror_filled_under_other_pins_is_refused(toy: EngineSpec, mirror: Path) -> None:
    newer = dataclasses.replace(toy, downloads=(dataclasses.replace(toy.downloads[0], sha256={"amd64": OTHER}),))

    with pytest.raises(BinaryError, match="not of what this version of cms pins"):
        get(newer, mirror)


def test_a_mirror_without_the_engine_is_noted_and_the_next_source_asked(toy: EngineSpec, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = Collected()

    assert get(toy, tmp_path / "empty", report).source == "release 127.0.0.1"
    assert f"{tmp_path}/empty/toy/1.0/linux_amd64/manifest.json: there is no such file" in str(report)


@pytest.mark.parametrize("text", ["ftp://host/x", "file:///tmp", "http://", "/no/such/dir", "http://h/x#sha256=12"])
def test_a_bad_mirror_is_a_usage_error(toy: EngineSpec, site: Site, text: str) -> None:
    with pytest.raises(UsageError, match="--mirror="):
        get(toy, text)
    assert site.requested == []


def test_a_mirrors_password_is_never_shown(toy: EngineSpec, mirror: Path, site: Site, cache: Path) -> None:
    site.add_tree(mirror)
    report = Collected()
    get(toy, site.url.replace("//", "//user:hunter2@"), report)
    shutil.rmtree(cache / "toy")
    site.routes.clear()
    with pytest.raises(BinaryError):
        get(toy, site.url.replace("//", "//user:hunter2@"), report)

    assert "404" in str(report)
    assert "hunter2" not in str(report)
    assert "hunter2" not in "".join(file.read_text(errors="replace") for file in cache.rglob("*.json"))


@pytest.mark.parametrize("damage", [change, cut, Path.unlink])
def test_a_damaged_cache_is_named_and_mended(toy: EngineSpec, damage: Callable[[Path], None]) -> None:
    file = get(toy).files[0].path
    damage(file)
    report = Collected()

    assert get(toy, report=report).files[0].path.read_bytes() == CONTENT
    assert str(file) in str(report)


def test_a_changed_pin_voids_the_cache(toy: EngineSpec, site: Site) -> None:
    get(toy)
    site.add("/toy_1.0_amd64.zip", zipped(b"newer"))
    newer = spec_of(toy.downloads[0].url, zipped(b"newer"))

    assert get(newer).files[0].path.read_bytes() == b"newer"


def test_an_interrupted_download_leaves_nothing_and_the_next_run_ends_well(toy: EngineSpec, cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        get(toy, report=Collected(interrupt_at="100 %"))
    assert cached_files(cache) == []
    assert get(toy).files[0].sha256 == DIGEST


def test_what_a_killed_process_left_is_removed(toy: EngineSpec, cache: Path) -> None:
    leftover = cache / ".toy-1.0-amd64.partial" / "files" / "toy"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    get(toy)

    assert not (cache / ".toy-1.0-amd64.partial").exists()


def test_two_at_once_download_once(toy: EngineSpec, site: Site) -> None:
    bundles: list[BinaryBundle] = []
    threads = [threading.Thread(target=lambda: bundles.append(get(toy))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [bundle.files[0].sha256 for bundle in bundles] == [DIGEST] * 4
    assert site.requested == ["/toy_1.0_amd64.zip"]


def test_a_cache_that_cannot_be_written_is_named(toy: EngineSpec, cache: Path) -> None:
    cache.write_text("a file where the directory should be")

    with pytest.raises(ClusterError, match=r"cache .*/cache: .*CLOUDMESH_CLUSTER_CACHE"):
        get(toy)


def test_the_listing_has_a_row_for_each_file_cached_or_not(toy: EngineSpec) -> None:
    before = file_rows(toy, "amd64")
    file = get(toy).files[0]

    assert before == [
        {"engine": "toy", "version": "1.0", "file": "toy", "source": "", "sha256": "", "size": 0, "path": ""}
    ]
    assert file_rows(toy, "amd64") == [
        {
            "engine": "toy",
            "version": "1.0",
            "file": "toy",
            "source": "release 127.0.0.1",
            "sha256": DIGEST,
            "size": len(CONTENT),
            "path": str(file.path),
        }
    ]


def test_an_unknown_engine_or_architecture_is_a_usage_error(toy: EngineSpec) -> None:
    with pytest.raises(UsageError, match="engine 'swarm' is not known"):
        provide("swarm", report=Collected())
    with pytest.raises(UsageError, match="engine 'swarm' is not known"):
        list_files("swarm")
    with pytest.raises(UsageError, match=r"architecture '\.\./x' is not known"):
        get(toy, arch="../x")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.version}")
def test_every_engine_is_pinned_by_checksum_and_each_source_gives_all_files(spec: EngineSpec) -> None:
    for download in spec.downloads:
        assert download.url.startswith("https://")
        assert all(len(bytes.fromhex(digest)) == 32 for digest in download.sha256.values())
    assert {name for download in spec.downloads for name in download.members} in ({*spec.files}, set())
    assert {name for build in spec.builds for name in build.packages} == {*spec.files}
    assert json.loads(json.dumps(spec.pins())) == spec.pins()


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.name == "nomad"], ids=lambda spec: spec.version)
def test_the_nomad_module_builds_the_version_that_is_pinned(spec: EngineSpec) -> None:
    module = spec.builds[0].module

    assert f"require github.com/hashicorp/nomad v{spec.version}\n" in (module / "go.mod").read_text()
    assert f"github.com/hashicorp/nomad v{spec.version} h1:" in (module / "go.sum").read_text()


def test_a_version_that_is_not_pinned_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"nomad '1\.9\.9' is not one of .*: use 1\.10\.4 or 1\.10\.5 or 1\.11\.1$"):
        provide("nomad", version="1.9.9", report=Collected())
    assert {row["version"] for row in list_files("nomad", version="1.11.1")} == {"1.11.1"}
    assert {row["version"] for row in list_files("nomad")} == {NOMAD.version}
