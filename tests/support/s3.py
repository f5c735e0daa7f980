"""A real S3 server, versitygw, over a directory of this machine: built from its Go module once, and kept in a cache."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudmesh.cluster.binaries import cache, go_build
from cloudmesh.cluster.binaries.pinned import Build, EngineSpec
from support.silent import Silent

ACCESS_KEY = "cms-test"
SECRET_KEY = "a-secret-of-the-tests-only"  # noqa: S105
_SPEC = EngineSpec(
    name="versitygw",
    version="1.8.0",
    files=("versitygw",),
    downloads=(),
    builds=(
        Build(
            module=Path(__file__).parent / "s3gateway",
            packages={"versitygw": "github.com/versity/versitygw/cmd/versitygw"},
        ),
    ),
)


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server that runs.

    Attributes:
        endpoint: the server's URL.
        name: of the bucket.
        files: where its objects are, as files.
    """

    endpoint: str
    name: str
    files: Path


@contextmanager
def bucket(directory: Path, address: str) -> Iterator[Bucket]:
    """Yield a bucket of a server that listens on an address of this machine."""
    files = directory / "objects" / "lake"
    files.mkdir(parents=True)
    port = 17070 + os.getpid() % 1000
    command = [str(_program()), "--port", f"{address}:{port}", "posix", str(files.parent)]
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with (directory / "s3.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **keys}, stdout=log, stderr=log)
    try:
        endpoint = f"http://{address}:{port}"
        _await(endpoint, process, directory / "s3.log")
        yield Bucket(endpoint, files.name, files)
    finally:
        process.terminate()
        process.wait(10)


def _program() -> Path:
    """Return the server's program, built where the cache does not have it."""
    kept = cache.cache_directory() / "tests" / f"versitygw-{_SPEC.version}-{_SPEC.pins()[:12]}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as work:
            arch = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
            go_build.build(_SPEC, arch, Path(work), Path(work), Silent())
            (Path(work) / "versitygw").replace(kept)
    return kept


def _await(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=1)  # noqa: S310
        except urllib.error.HTTPError:  # it wants keys, so it is there
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())
