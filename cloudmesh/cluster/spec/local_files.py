"""The local files that travel with a job: they are found and checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from cloudmesh.cluster.spec.yaml_document import SourceLocation, local_path, quoted

MAX_TOTAL_MB = 512
# spark-submit separates files by commas and reads "#" as an alias; "%" and blanks do not survive its URIs.
_NAME = re.compile(r"[\w.+=@~-]{1,255}")
MAIN_SUFFIXES = (".py", ".jar")
PYTHON_SUFFIXES = (".py", ".zip", ".egg")


def path_flaw(text: str, suffixes: tuple[str, ...] = ()) -> str:
    """Return why the file that a path names could not travel with a job; empty if it could.

    Args:
        text: the path; whether there is such a file does not matter.
        suffixes: how its name may end; none: anyhow.
    """
    if "://" in text:
        return f"{quoted(text)} is an address: name a file on this machine, which then travels along"
    path = local_path(text)
    if suffixes and path.suffix not in suffixes:
        return f"{quoted(text)} must end with {' or '.join(suffixes)}"
    # "." has no name: that it is a directory is said when it is looked for.
    if path.name and not _NAME.fullmatch(path.name):
        return f"{quoted(path.name)}: a file that travels is named with letters, digits and any of . _ + = @ ~ -"
    return ""


class LocalFiles:
    """The local files that a job names, in their order."""

    def __init__(self, folder: Path) -> None:
        """Begin with no files; paths are relative to `folder`."""
        self._folder = folder
        self._paths: list[tuple[SourceLocation, Path]] = []

    def find(self, text: str, location: SourceLocation) -> Path:
        """Return the regular file that a path names, links followed.

        Args:
            text: the path, in which `path_flaw` sees nothing wrong.
            place: where the user names it.

        Raises:
            UsageError: there is no such file, or it cannot be read.
        """
        path = self._folder / local_path(text)
        _check_readable(path, location)
        self._paths.append((location, path))
        return path

    def find_named(self, words: Iterable[str], known: Collection[str], location: SourceLocation) -> tuple[Path, ...]:
        """Return the regular files in the folder that are called like one of the words.

        Args:
            words: arguments of a program; most of them name no file.
            known: names of files that travel anyhow.
            location: where the words stand.

        Raises:
            UsageError: one of the files cannot be read.
        """
        names = [word for word in dict.fromkeys(words) if _NAME.fullmatch(word) and word not in known]
        return tuple(self.find(name, location) for name in names if (self._folder / name).is_file())

    def check_together(self) -> None:
        """Check that the files can travel together.

        Raises:
            UsageError: two have the same name, or they are too large.
        """
        total = 0
        names: dict[str, SourceLocation] = {}
        for location, path in self._paths:
            if path.name in names:
                raise location.error(
                    f"{path.name} is also the name of {names[path.name].field}; names must differ, folders are not kept"
                )
            names[path.name] = location
            total += path.stat().st_size
            if total > MAX_TOTAL_MB << 20:
                raise location.error(
                    f"with {path.name} the job's files are {total >> 20} MiB; {MAX_TOTAL_MB} MiB can travel with a job"
                )


def _check_readable(path: Path, location: SourceLocation) -> None:
    try:
        if path.is_dir():
            raise location.error(f"{path} is a directory: name its files, or a .zip of it")
        if not path.exists():
            raise location.error(f"{path} does not exist")
        if not path.is_file():
            raise location.error(f"{path} is no regular file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise location.error(f"{path} cannot be read: {error.strerror}") from error


def read_main_class(jar: Path, location: SourceLocation) -> str:
    """Return the main class that a jar's manifest names.

    Raises:
        UsageError: the file is no jar, or its manifest names no main class.
    """
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(jar) as archive, archive.open("META-INF/MANIFEST.MF") as manifest:
            text = manifest.read(1 << 20).decode("utf-8", "replace")
    except KeyError:
        text = ""
    except (BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise location.error(f"{jar.name} is not a jar: {error}") from error
    # A line that begins with a blank continues the line before.
    match = re.search(r"^Main-Class:\s*([\w.$]+)\s*$", re.sub(r"\r?\n ", "", text), re.MULTILINE)
    if not match:
        raise location.error(
            f"{jar.name} has no Main-Class in its manifest; name the class in spec.mainClass of a job file"
        )
    return match[1]
