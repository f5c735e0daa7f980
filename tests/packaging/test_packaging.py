"""What users install: a wheel, an sdist, an editable checkout, each beside cloudmesh-cmd5, on every Python there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
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


@pytest.fixture(scope="module")
def environments(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Yield what gives a place whose `venv` has the wheel and what it depends on, by a Python's path."""
    made: dict[str, Path] = {}

    def environment(python: str) -> Path:
        if python not in made:
            made[python] = place = tmp_path_factory.mktemp("environment")
            run(python, "-m", "venv", "venv", cwd=place)
            pip(place, "install", next(built.glob("*.whl")))
        return made[python]

    yield environment
    for place in made.values():
        shutil.rmtree(place / "venv")


def pip(place: Path, verb: str, *words: str | Path) -> None:
    quickly = ("--quiet", "--no-compile") if verb == "install" else ()
    run("venv/bin/python", "-m", "pip", verb, *quickly, *words, cwd=place)


def works(what: Sequence[str | Path], place: Path) -> None:
    """Put `what` in place of what is installed, which has the same needs, and use it."""
    pip(place, "install", "--no-deps", "--force-reinstall", *what)
    pip(place, "check")
    cms = place / "venv" / "bin" / "cms"
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
def test_the_wheel_works_beside_cmd5(built: Path, environments: Callable[[str], Path], version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    works([next(built.glob("*.whl"))], environments(python))


def test_the_sdist_works_beside_cmd5(built: Path, environments: Callable[[str], Path]) -> None:
    works([next(built.glob("*.tar.gz"))], environments(sys.executable))


def test_an_editable_install_works_beside_cmd5(source: Path, environments: Callable[[str], Path]) -> None:
    works(["-e", source], environments(sys.executable))


def test_the_wheel_has_every_file_of_images_and_no_init_of_the_namespace(built: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    images = {str(path.relative_to(source)) for path in (source / "cloudmesh" / "images").rglob("*") if path.is_file()}
    assert {name for name in images if "__pycache__" not in name} <= names
    assert "cloudmesh/__init__.py" not in names
    assert not [name for name in names if name.startswith("tests")]
