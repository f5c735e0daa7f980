"""A job's local files as one image layer, the same bytes for the same files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec.job import JobSpec, describe

JOB_DIR = "/opt/cloudmesh/job"
SPARK_UID = 185


@dataclass(frozen=True)
class JobBundle:
    """The part of a job that goes into the registry.

    Attributes:
        layer: a gzipped tar with the files below JOB_DIR.
        digest: SHA-256 in hex of the job and its files; the folder and the machine of the files do not change it.
    """

    layer: bytes
    digest: str


def make_bundle(job: JobSpec) -> JobBundle:
    """Return the layer and the digest of a job.

    Raises:
        UsageError: a file of the job cannot be read.
    """
    files = sorted((_read_file(path) for path in job.files), key=lambda file: file.name)
    identity = {
        "job": describe(job, lambda path: path.name),
        "files": [[file.name, file.mode, hashlib.sha256(file.data).hexdigest()] for file in files],
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return JobBundle(_build_layer(files), hashlib.sha256(canonical.encode()).hexdigest())


@dataclass(frozen=True)
class _File:
    name: str
    mode: int
    data: bytes


def _read_file(path: Path) -> _File:
    try:
        mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
        return _File(path.name, mode, path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _build_layer(files: Iterable[_File]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        # A layer's entry replaces the directory's owner in the image, so the folders above the job's stay root's.
        for directory, owner in (("opt", 0), ("opt/cloudmesh", 0), (JOB_DIR[1:], SPARK_UID)):
            archive.addfile(_build_entry(directory, 0o755, owner, tarfile.DIRTYPE))
        for file in files:
            entry = _build_entry(f"{JOB_DIR[1:]}/{file.name}", file.mode, SPARK_UID)
            entry.size = len(file.data)
            archive.addfile(entry, io.BytesIO(file.data))
    return buffer.getvalue()


def _build_entry(name: str, mode: int, owner: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = mode
    entry.uid = entry.gid = owner
    return entry
