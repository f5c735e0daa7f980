"""Fetches the files of a lock file from a Maven repository: `fetch.py LOCK DIRECTORY MAVEN`.

A line of the lock file is "SHA-256  PATH"; what does not match is not kept. The repository is $MAVEN_MIRROR_URL, else
the one that Maven itself, unpacked in the directory MAVEN, would go to.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

TRIES = 4
TOGETHER = 8


def locked(lock: Path) -> Iterator[tuple[str, str]]:
    """Yield digest and path of each file in the lock file."""
    for line in lock.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            digest, path = line.split()
            yield digest, path


def central(maven: Path) -> str:
    """Return the address of the repository that Maven uses where nobody names another."""
    (jar,) = (path for path in maven.glob("usr/share/java/*-model-builder*.jar") if not path.is_symlink())
    with ZipFile(jar) as archive:
        model = archive.read("org/apache/maven/model/pom-4.0.0.xml").decode()
    found = re.search("<url>(http[^<]+)</url>", model)
    if not found:
        raise SystemExit(f"fetch: {jar.name} names no repository; set MAVEN_MIRROR_URL")
    return found[1]


def content(url: str) -> bytes:
    """Return what is at `url`; a network that fails once is asked again."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - the operator's own repository
                return bytes(response.read())
        except OSError as error:
            if attempt == TRIES:
                raise SystemExit(f"fetch: {url}: {error}") from error
            time.sleep(2**attempt)
    raise AssertionError


def fetch(repository: str, digest: str, path: str, directory: Path) -> None:
    """Fetch one file into `directory`, without the folders of its path."""
    data = content(f"{repository}/{path}")
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise SystemExit(f"fetch: {path} has the SHA-256 {found}, not {digest}")
    (directory / path.rpartition("/")[2]).write_bytes(data)


def main() -> None:
    """Fetch everything, some files at a time."""
    lock, directory = Path(sys.argv[1]), Path(sys.argv[2])
    repository = (os.environ.get("MAVEN_MIRROR_URL") or central(Path(sys.argv[3]))).rstrip("/")
    with ThreadPoolExecutor(TOGETHER) as pool:
        for done in [pool.submit(fetch, repository, *file, directory) for file in locked(lock)]:
            done.result()


if __name__ == "__main__":
    main()
