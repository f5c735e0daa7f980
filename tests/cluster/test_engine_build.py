"""The real Nomad, built from its module where the cache has not got it: minutes of both processors the first time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloudmesh.cluster.binaries.provision import list_files, provide
from cloudmesh.cluster.core.report import Silence

pytestmark = pytest.mark.cluster

PROVIDE = """
from cloudmesh.cluster.binaries.provision import provide
class Printed:
    def step(self, where, what): print(what, flush=True)
    def done(self, where, what=""): pass
    def failed(self, where, why): pass
    def note(self, text): pass
provide("nomad", report=Printed())
"""


def test_the_binary_runs_says_its_version_and_needs_no_library() -> None:
    bundle = provide("nomad", report=Silence())
    nomad = bundle.files[0].path

    version = subprocess.run([nomad, "version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("Nomad v1.10.5")
    assert subprocess.run(["ldd", nomad], capture_output=True, check=False).returncode != 0
    assert [row["path"] for row in list_files("nomad")] == [str(nomad)]


def test_a_copy_of_the_cache_gives_the_same_binary_as_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = provide("nomad", report=Silence())
    mirror = first.files[0].path.parents[3]
    monkeypatch.setenv("CLOUDMESH_CLUSTER_CACHE", str(tmp_path))
    second = provide("nomad", mirror=str(mirror), report=Silence())

    assert second.files[0].sha256 == first.files[0].sha256
    assert second.files[0].path.is_relative_to(tmp_path)


def test_an_interrupted_build_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    environment = os.environ | {"CLOUDMESH_CLUSTER_CACHE": str(tmp_path / "cache"), "GOCACHE": str(tmp_path / "go")}
    with subprocess.Popen(
        [sys.executable, "-c", PROVIDE], env=environment, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout
        while "building" not in client.stdout.readline():
            assert client.poll() is None
        time.sleep(3)
        client.send_signal(signal.SIGINT)
        client.wait(timeout=10)

    assert client.returncode != 0
    assert [file for file in (tmp_path / "cache").rglob("*") if file.suffix != ".lock"] == []
    assert not any(str(tmp_path).encode() in variables for variables in _read_environments())


def _read_environments() -> list[bytes]:
    """Return the environment variables of all processes that this user may look into."""
    environments = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environments.append((process / "environ").read_bytes())
        except OSError:
            continue  # it has ended, or is not ours
    return environments
