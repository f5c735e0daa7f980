"""A real S3 server, versitygw, over a directory of this machine: built from its Go module once, and cached."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudmesh.cluster.binaries import go_build
from cloudmesh.cluster.binaries.pinned import Build, EngineSpec
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.core.user_cache import cache_directory
from support.waiting import wait_until

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
    """A bucket of a running server.

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
    command = [str(_provide_program()), "--port", f"{address}:{port}", "posix", str(files.parent)]
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with (directory / "s3.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **keys}, stdout=log, stderr=log)
    try:
        endpoint = f"http://{address}:{port}"
        _wait_until_ready(endpoint, process, directory / "s3.log")
        yield Bucket(endpoint, files.name, files)
    finally:
        process.terminate()
        process.wait(10)


def _provide_program() -> Path:
    """Return the server's program, built if it is not in the cache."""
    program = cache_directory() / "tests" / f"versitygw-{_SPEC.version}-{_SPEC.pins()[:12]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as work:
            arch = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
            go_build.build(_SPEC, arch, Path(work), Path(work), Silence())
            (Path(work) / "versitygw").replace(program)
    return program


def _wait_until_ready(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers; AssertionError: it ends, or does not answer in 20 s."""

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(endpoint, timeout=1)  # noqa: S310
        except urllib.error.HTTPError:  # it wants keys, so it is there
            return True
        except OSError:
            return False
        return False

    assert wait_until(answers, 20, pause=0.1), log.read_text()
