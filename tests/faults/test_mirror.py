"""Where the engine comes from: a mirror that was tampered with is refused, a good one serves an empty cache."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.hosts import prepare_local_cluster

from cloudmesh.cluster.binaries import cache
from cloudmesh.cluster.binaries.pinned import NOMAD
from cloudmesh.cluster.binaries.provision import provide
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.core.user_cache import cache_directory

pytestmark = pytest.mark.cluster

BUNDLE = cache.cache_path(NOMAD, "amd64")  # below the cache or a mirror


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


class Stalling(BaseHTTPRequestHandler):
    """Begins every answer, and never ends it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000000")
        self.end_headers()
        self.wfile.write(b"{")
        self.wfile.flush()
        time.sleep(60)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serve(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Yield the URL of a web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.socket.close()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Return a folder with a copy of the cached bundle."""
    provide("nomad", report=Silence())
    shutil.copytree(cache_directory() / BUNDLE, tmp_path / "mirror" / BUNDLE)
    return tmp_path / "mirror"


def flip_byte(file: Path) -> None:
    """Change a byte in the middle of a file, or change it back."""
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2)
        (old,) = content.read(1)
        content.seek(-1, 1)
        content.write(bytes([old ^ 1]))


def list_files(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.stat().st_size)


def test_a_wrong_checksum_in_the_mirror_is_refused_and_a_good_mirror_makes_the_cluster_from_an_empty_cache(
    mirror: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    env = {"CLOUDMESH_CLUSTER_CACHE": str(cache)}
    with (
        prepare_local_cluster("fmirror", 1, tmp_path) as cluster,
        serve(partial(Quiet, directory=str(mirror))) as url,
        serve(Stalling) as stalling,
    ):
        with cluster.start_create(f"--mirror={stalling}", env=env) as running:
            running.wait_until_shown("engine: fetching|plain HTTP", "install")
            running.interrupt()
            assert len(running.wait(seconds=5).expect_failure(130, "interrupted")) == 1
        for bad in (str(mirror), url):
            flip_byte(mirror / BUNDLE / "nomad")
            refused = f"^{bad}/.*/nomad: wrong checksum, the file was deleted: its SHA-256 is "
            assert len(cluster.create(f"--mirror={bad}", env=env, seconds=90).expect_failure(1, refused)) == 1
            assert list_files(cache) == []
            assert not cluster.host(1).succeeds("ls /opt/cloudmesh/bin/*")
            flip_byte(mirror / BUNDLE / "nomad")
        cluster.create(f"--mirror={url}", env=env).ok()
        cluster.check_whole()
        assert list_files(cache) == [f"{BUNDLE}/manifest.json", f"{BUNDLE}/nomad"]
