"""Sources of finished binaries: a mirror of the cache, and the vendor's release site."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from cloudmesh.cluster.binaries import cache
from cloudmesh.cluster.binaries.fetch import Progress, fetch, shown
from cloudmesh.cluster.binaries.pinned import Download, EngineSpec
from cloudmesh.cluster.core.errors import BinaryError, UsageError
from cloudmesh.cluster.core.report import Report

_RELEASE_PATIENCE = 5.0
_MIRROR_PATIENCE = 15.0


class Mirror:
    """A directory or web server with a copy of the cache; `cache` describes the layout.

    The operator runs the mirror, so its manifest is trusted, and its files are checked against the manifest. Where the
    network on the way to it is not trusted, the manifest can be pinned: `--mirror=https://host/engines#sha256=HEX`.

    Args:
        text: `DIR`, `http://…` or `https://…`, optionally followed by `#sha256=` and the manifest's SHA-256.

    Raises:
        UsageError: `text` has another form, or there is no such directory.
    """

    def __init__(self, text: str) -> None:
        location, _, pin = text.partition("#sha256=")
        if pin and not re.fullmatch(r"[0-9a-f]{64}", pin):
            raise UsageError(f"--mirror={shown(text)}: after #sha256= there must be 64 hexadecimal digits")
        self._remote = "://" in location
        if self._remote and (urlsplit(location).scheme not in ("http", "https") or not urlsplit(location).hostname):
            raise UsageError(f"--mirror={shown(location)}: use a directory, http://… or https://…")
        if not self._remote and not Path(location).is_dir():
            raise UsageError(f"--mirror={location}: there is no such directory")
        self._location, self._pin = location.rstrip("/"), pin
        self.name = shown(self._location) if self._remote else self._location

    def give(self, spec: EngineSpec, arch: str, directory: Path, report: Report) -> str:
        """Write the verified binaries into `directory`, and return where they came from, in words.

        Raises:
            SourceUnavailableError: the mirror does not have this engine, or does not answer.
            BinaryError: its manifest is not the pinned one or is about other pins, or a file does not match it.
        """
        base = f"{self.name}/{cache.cache_path(spec, arch)}"
        if self._remote and self._location.startswith("http://") and not self._pin:
            report.note(
                f"{self.name} is plain HTTP: add #sha256= and its manifest's SHA-256 where the way is not trusted"
            )
        self._get(f"{cache.cache_path(spec, arch)}/{cache.MANIFEST}", directory / cache.MANIFEST, None)
        text = (directory / cache.MANIFEST).read_bytes()
        if self._pin and hashlib.sha256(text).hexdigest() != self._pin:
            raise BinaryError(f"{base}/{cache.MANIFEST}: wrong checksum: it is not the one given after #sha256=")
        manifest = cache.parse_manifest(text, spec, arch, f"{base}/{cache.MANIFEST}")
        for name in spec.files:
            progress = report_percentage(report, f"fetching {name} {spec.version} from {self.name}")
            self._get(f"{cache.cache_path(spec, arch)}/{name}", directory / name, progress)
        origin = cache.verify(directory, manifest, spec, base).source
        return f"mirror {self.name} ({origin})"

    def _get(self, path: str, target: Path, progress: Progress | None) -> None:
        if self._remote:
            fetch(f"{self._location}/{path}", target, patience=_MIRROR_PATIENCE, progress=progress)
            return
        source = Path(self._location, path)
        if not source.is_file():
            raise cache.SourceUnavailableError(f"{source}: there is no such file")
        shutil.copyfile(source, target)


def release(spec: EngineSpec, arch: str, directory: Path, report: Report) -> str:
    """Write the vendor's binaries into `directory`, and return where they came from, in words.

    Raises:
        SourceUnavailableError: the release site does not answer, or no checksum is pinned for this architecture.
        BinaryError: the release site serves a file with another checksum.
    """
    if not spec.downloads:
        raise cache.SourceUnavailableError("no checksums of its release are pinned")
    for download in spec.downloads:
        _fetch_release_file(spec, arch, download, directory, report)
    return f"release {urlsplit(spec.downloads[0].url).hostname}"


def _fetch_release_file(spec: EngineSpec, arch: str, download: Download, directory: Path, report: Report) -> None:
    url = download.url.format(version=spec.version, arch=arch)
    if arch not in download.sha256:
        raise cache.SourceUnavailableError(f"{url}: no checksum is pinned for {arch}")
    archive = directory / ("download-" + url.rpartition("/")[2])
    progress = report_percentage(report, f"downloading {spec.name} {spec.version} from {urlsplit(url).hostname}")
    fetch(url, archive, patience=_RELEASE_PATIENCE, progress=progress)
    cache.check(archive, download.sha256[arch], url)
    for name, member in download.members.items():
        with (directory / name).open("wb") as target:
            _extract(archive, member, target)
    archive.unlink()


def _extract(archive: Path, member: str, target: IO[bytes]) -> None:
    """Copy the archive's member of this exact name into `target`. Names in the archive are never used as paths."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as file, file.open(member) as source:
            shutil.copyfileobj(source, target)
    elif archive.name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(archive) as tar:
            source_file = tar.extractfile(member)
            if source_file is None:
                raise BinaryError(f"{archive.name}: {member} is no regular file")
            shutil.copyfileobj(source_file, target)
    else:
        with archive.open("rb") as source:
            shutil.copyfileobj(source, target)


def report_percentage(report: Report, what: str) -> Progress:
    """Return a progress function that reports `what` after every ten percent."""
    import humanize

    report.step("engine", what)
    last = 0

    def progress(done: int, total: int) -> None:
        nonlocal last
        tenth = done * 10 // total if total else 0
        if tenth > last:
            last = tenth
            report.step("engine", f"{what}: {tenth * 10} % of {humanize.naturalsize(total)}")

    return progress
