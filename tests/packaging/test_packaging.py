"""What users install: a wheel, an sdist, an editable checkout, beside cloudmesh-cmd5, on every supported Python."""

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


def find_interpreter(version: str) -> str | None:
    """Return a Python of a version, from the PATH or from pyenv; None: there is none."""
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
    """Yield a function from a Python's path to a folder whose `venv` has the wheel and its dependencies."""
    folders: dict[str, Path] = {}

    def provide_environment(python: str) -> Path:
        if python not in folders:
            folders[python] = folder = tmp_path_factory.mktemp("environment")
            run(python, "-m", "venv", "venv", cwd=folder)
            run_pip(folder, "install", next(built.glob("*.whl")))
        return folders[python]

    yield provide_environment
    for folder in folders.values():
        shutil.rmtree(folder / "venv")


def run_pip(folder: Path, verb: str, *words: str | Path) -> None:
    quickly = ("--quiet", "--no-compile") if verb == "install" else ()
    run("venv/bin/python", "-m", "pip", verb, *quickly, *words, cwd=folder)


def check_works(what: Sequence[str | Path], folder: Path) -> None:
    """Install `what` over the wheel in the folder's `venv`, which has the same dependencies, and use it."""
    run_pip(folder, "install", "--no-deps", "--force-reinstall", *what)
    run_pip(folder, "check")
    cms = folder / "venv" / "bin" / "cms"
    assert "cluster create -n NAME" in run(cms, "cluster", "-h", cwd=folder).stdout
    assert re.search(r"\bcluster\b", run(cms, "help", cwd=folder).stdout)
    assert "cluster create -n NAME" in run(cms, "help", "cluster", cwd=folder).stdout
    assert run(cms, "cluster", "info", "-n", "../x", cwd=folder, check=False).returncode == 2
    script = run(cms, cwd=folder, stdin="cluster -h\ncluster info -n ../x\n", check=False)
    assert "cluster create -n NAME" in script.stdout
    assert script.returncode == 2
    assert "ERROR: cluster name '../x' is not valid" in script.stderr
    run(folder / "venv" / "bin" / "python", "-c", EVERYTHING, cwd=folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_works_beside_cmd5(built: Path, environments: Callable[[str], Path], version: str) -> None:
    python = find_interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    check_works([next(built.glob("*.whl"))], environments(python))


def test_the_sdist_works_beside_cmd5(built: Path, environments: Callable[[str], Path]) -> None:
    check_works([next(built.glob("*.tar.gz"))], environments(sys.executable))


def test_an_editable_install_works_beside_cmd5(source: Path, environments: Callable[[str], Path]) -> None:
    check_works(["-e", source], environments(sys.executable))


def test_the_wheel_has_every_file_of_images_and_no_init_of_the_namespace(built: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    images = {str(path.relative_to(source)) for path in (source / "cloudmesh" / "images").rglob("*") if path.is_file()}
    assert {name for name in images if "__pycache__" not in name} <= names
    assert "cloudmesh/__init__.py" not in names
    assert not [name for name in names if name.startswith("tests")]
