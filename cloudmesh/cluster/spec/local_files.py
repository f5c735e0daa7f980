"""The local files that travel with a job: they are found and checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from cloudmesh.cluster.spec.yaml_document import Scalar, SourceLocation, local_path, quoted

MAX_TOTAL_MB = 512
# spark-submit separates files by commas and reads "#" as an alias; "%" and blanks do not survive its URIs.
_NAME = re.compile(r"[\w.+=@~-]{1,255}")
MAIN_SUFFIXES = (".py", ".jar")
PYTHON_SUFFIXES = (".py", ".zip", ".egg")


def find_file(value: Scalar, folder: Path, suffixes: tuple[str, ...] = ()) -> Path:
    """Return the regular file that a value names, links followed.

    Args:
        value: the path, relative to `folder`.
        folder: where the job file is.
        suffixes: what its name may end with; none: anything.

    Raises:
        UsageError: there is no such file, or it cannot travel.
    """
    if "://" in value.text:
        raise value.place.error(
            f"{quoted(value.text)} is an address: name a file on this machine, which then travels along"
        )
    path = folder / local_path(value.text)
    if suffixes and path.suffix not in suffixes:
        raise value.place.error(f"{quoted(value.text)} must end with {' or '.join(suffixes)}")
    if not _NAME.fullmatch(path.name):
        raise value.place.error(
            f"{quoted(path.name)}: a file that travels is named with letters, digits and any of . _ + = @ ~ -"
        )
    _readable(path, value.place)
    return path


def _readable(path: Path, place: SourceLocation) -> None:
    try:
        if path.is_dir():
            raise place.error(f"{path} is a directory: name its files, or a .zip of it")
        if not path.exists():
            raise place.error(f"{path} does not exist")
        if not path.is_file():
            raise place.error(f"{path} is no regular file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise place.error(f"{path} cannot be read: {error.strerror}") from error


def check_together(files: Iterable[tuple[SourceLocation, Path]]) -> None:
    """Check that files can travel together.

    Raises:
        UsageError: two have the same name, or they are too large.
    """
    total = 0
    names: dict[str, SourceLocation] = {}
    for place, path in files:
        if path.name in names:
            raise place.error(
                f"{path.name} is also the name of {names[path.name].field}; names must differ, folders are not kept"
            )
        names[path.name] = place
        total += path.stat().st_size
        if total > MAX_TOTAL_MB << 20:
            raise place.error(
                f"with {path.name} the job's files are {total >> 20} MiB; {MAX_TOTAL_MB} MiB can travel with a job"
            )


def main_class(jar: Path, place: SourceLocation) -> str:
    """Return the class that a jar's manifest says is its main one.

    Raises:
        UsageError: it is no jar, or names none.
    """
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(jar) as archive, archive.open("META-INF/MANIFEST.MF") as manifest:
            text = manifest.read(1 << 20).decode("utf-8", "replace")
    except KeyError:
        text = ""
    except (BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise place.error(f"{jar.name} is not a jar: {error}") from error
    # A line that begins with a blank goes on with the one before.
    match = re.search(r"^Main-Class:\s*([\w.$]+)\s*$", re.sub(r"\r?\n ", "", text), re.MULTILINE)
    if not match:
        raise place.error(
            f"{jar.name} has no Main-Class in its manifest; name the class in spec.mainClass of a job file"
        )
    return match[1]
