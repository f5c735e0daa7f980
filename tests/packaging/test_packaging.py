"""What users install: a wheel, an sdist, an editable checkout, each beside cloudmesh-cmd5, on every Python there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = """
import importlib, importlib.resources, pkgutil
import cloudmesh.cluster
for module in pkgutil.walk_packages(cloudmesh.cluster.__path__, "cloudmesh.cluster."):
    importlib.import_module(module.name)
assert (importlib.resources.files("cloudmesh.images") / "nomad" / "build.sh").is_file()
"""
VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def interpreter(version: str) -> str | None:
    """Return a Python of that version, from the PATH or from pyenv."""
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    candidates = [sys.executable, shutil.which(f"python{version}"), *map(str, reversed(pyenv))]
    test = f"import sys, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", test], check=False, capture_output=True).returncode == 0:
            return candidate
    return None


def run(*command: str | Path, cwd: Path, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"CLOUDMESH_CONFIG_DIR": str(cwd / "config"), "HOME": os.environ.get("HOME", str(cwd))}
    done = subprocess.run(
        [str(word) for word in command], input=stdin, cwd=cwd, env=environment, check=False, capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing in it."""
    target = tmp_path_factory.mktemp("source") / "checkout"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture(scope="session")
def built(source: Path) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", ".", cwd=source)
    return source / "dist"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)


def installed(place: Path, python: str, *what: str | Path) -> Path:
    """Return the `cms` of a fresh environment that has `what` and its dependencies."""
    run(python, "-m", "venv", "venv", cwd=place)
    run("venv/bin/python", "-m", "pip", "install", "--quiet", "--no-compile", *what, cwd=place)
    return place / "venv" / "bin" / "cms"


def works(cms: Path, place: Path) -> None:
    assert "cluster create -n NAME" in run(cms, "cluster", "-h", cwd=place).stdout
    assert re.search(r"\bcluster\b", run(cms, "help", cwd=place).stdout)
    assert "cluster create -n NAME" in run(cms, "help", "cluster", cwd=place).stdout
    assert run(cms, "cluster", "info", "-n", "../x", cwd=place, check=False).returncode == 2
    script = run(cms, cwd=place, stdin="cluster -h\ncluster info -n ../x\n", check=False)
    assert "cluster create -n NAME" in script.stdout
    assert script.returncode == 2
    assert "ERROR: cluster name '../x' is not valid" in script.stderr
    run(place / "venv" / "bin" / "python", "-c", EVERYTHING, cwd=place)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_works_beside_cmd5(built: Path, place: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    works(installed(place, python, next(built.glob("*.whl"))), place)


def test_the_sdist_works_beside_cmd5(built: Path, place: Path) -> None:
    works(installed(place, sys.executable, next(built.glob("*.tar.gz"))), place)


def test_an_editable_install_works_beside_cmd5(source: Path, place: Path) -> None:
    works(installed(place, sys.executable, "-e", source), place)


def test_the_wheel_has_every_file_of_images_and_no_init_of_the_namespace(built: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    images = {str(path.relative_to(source)) for path in (source / "cloudmesh" / "images").rglob("*") if path.is_file()}
    assert {name for name in images if "__pycache__" not in name} <= names
    assert "cloudmesh/__init__.py" not in names
    assert not [name for name in names if name.startswith("tests")]
