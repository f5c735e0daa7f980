"""Fetches the files of a lock file from a Maven repository: `fetch.py LOCK DIRECTORY MAVEN`.

A line of the lock file is "SHA-256  PATH"; a file with another SHA-256 is not written. The repository is
$MAVEN_MIRROR_URL, else the default one of the Maven that is unpacked in the directory MAVEN.
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
    """Yield the SHA-256 and path of each file in the lock file."""
    for line in lock.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            digest, path = line.split()
            yield digest, path


def central(maven: Path) -> str:
    """Return the address of Maven's default repository."""
    (jar,) = (path for path in maven.glob("usr/share/java/*-model-builder*.jar") if not path.is_symlink())
    with ZipFile(jar) as archive:
        model = archive.read("org/apache/maven/model/pom-4.0.0.xml").decode()
    match = re.search("<url>(http[^<]+)</url>", model)
    if not match:
        raise SystemExit(f"fetch: {jar.name} names no repository; set MAVEN_MIRROR_URL")
    return match[1]


def content(url: str) -> bytes:
    """Return what `url` serves; a request that fails is sent again, up to `TRIES` times altogether."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - the repository that the operator chose
                return bytes(response.read())
        except OSError as error:
            if attempt == TRIES:
                raise SystemExit(f"fetch: {url}: {error}") from error
            time.sleep(2**attempt)
    raise AssertionError


def fetch(repository: str, digest: str, path: str, directory: Path) -> None:
    """Fetch a file into `directory`, without the folders of its path; SystemExit where its SHA-256 is another."""
    data = content(f"{repository}/{path}")
    actual = hashlib.sha256(data).hexdigest()
    if actual != digest:
        raise SystemExit(f"fetch: {path} has the SHA-256 {actual}, not {digest}")
    (directory / path.rpartition("/")[2]).write_bytes(data)


def main() -> None:
    """Fetch all files, some at the same time."""
    lock, directory = Path(sys.argv[1]), Path(sys.argv[2])
    repository = (os.environ.get("MAVEN_MIRROR_URL") or central(Path(sys.argv[3]))).rstrip("/")
    with ThreadPoolExecutor(TOGETHER) as pool:
        for fetching in [pool.submit(fetch, repository, *file, directory) for file in locked(lock)]:
            fetching.result()


if __name__ == "__main__":
    main()
