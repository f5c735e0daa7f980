"""Makes volumes from what the operator says on the command line, and checks it before any host is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Volume
from cloudmesh.cluster.hosts.volumes import FORBIDDEN

# Host scripts make private directories there. Volumes may be below these directories, but not be one of them.
_ONLY_BELOW = ("/tmp", "/var/tmp")  # noqa: S108

_PATH = re.compile(r"/[A-Za-z0-9._/@+=,-]*")
_SERVER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9._/=+-]*")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(?:/[A-Za-z0-9._/-]*)?")
_REGION = re.compile(r"[a-z0-9-]{1,40}")


def directory(name: str, path: str) -> Volume:
    """Return the volume for a directory on the hosts.

    Raises:
        UsageError: `path` is malformed, or is a directory of the system or contains or lies in one.
    """
    path = _normalize(path, "--directory")
    for forbidden in FORBIDDEN:
        if _is_within(path, forbidden) or _is_within(forbidden, path):
            raise UsageError(
                f"--directory={path} is the system's or holds what is ({forbidden}): use one like /srv/{name}"
            )
    if path in _ONLY_BELOW:
        raise UsageError(f"--directory={path} is shared by all programs of a host: use one below it")
    return Volume(name, "directory", {"path": path})


def nfs(name: str, export: str) -> Volume:
    """Return the volume for an NFS export, "SERVER:/PATH"; UsageError where `export` has another form."""
    server, _, path = export.rpartition(":/")
    if not _SERVER.fullmatch(server):
        raise UsageError(f"--nfs={ascii(export)[1:-1]} is not valid: write --nfs=SERVER:/PATH")
    return Volume(name, "nfs", {"server": server, "path": _normalize(f"/{path}", "--nfs")})


def s3(name: str, url: str, keys: Mapping[str, str], *, endpoint: str, region: str, path_style: bool) -> Volume:
    """Return the volume for a bucket or a part of a bucket.

    Args:
        name: name of the volume.
        url: "s3a://BUCKET" or "s3a://BUCKET/PREFIX".
        keys: the values of "access_key" and "secret_key".
        endpoint: URL of the store; empty: Amazon's.
        region: region of the bucket; empty: "us-east-1" where `endpoint` is given, else none.
        path_style: whether the bucket is named in the URL's path instead of in the host name.

    Raises:
        UsageError: `url`, `endpoint` or `region` is malformed.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme not in ("s3a", "s3") or not _BUCKET.fullmatch(bucket) or not _KEY.fullmatch(prefix):
        raise UsageError(f"--s3={ascii(url)[1:-1]} is not valid: write --s3=s3a://BUCKET/PREFIX")
    for option, value, pattern in (("--endpoint", endpoint, _ENDPOINT), ("--region", region, _REGION)):
        if value and not pattern.fullmatch(value):
            raise UsageError(f"{option}={ascii(value)[1:-1]} is not valid")
    settings = {
        "url": f"s3a://{bucket}/{prefix}".rstrip("/"),
        "endpoint": endpoint,
        "region": region or ("us-east-1" if endpoint else ""),
        "path_style": "true" if path_style else "",
    }
    return Volume(name, "s3", {key: value for key, value in settings.items() if value}, keys)


def hadoop(name: str, service: str) -> Volume:
    """Return the volume for a folder in the file system of a HadoopService, "JOBID" or "JOBID/PATH".

    Raises:
        UsageError: the job id is not an RFC 1123 label, or the path is malformed.
    """
    job_id, slash, path = service.partition("/")
    names.check(job_id, "job id")
    return Volume(name, "hadoop", {"service": job_id, "path": _normalize(f"/{path}", "--hadoop") if slash else "/"})


def _normalize(path: str, option: str) -> str:
    """Return an absolute path in its shortest form.

    Raises:
        UsageError: the path is not absolute, has "..", or characters other than those in the message.
    """
    if not _PATH.fullmatch(path) or ".." in PurePosixPath(path).parts:
        raise UsageError(
            f"{option}: {path!a} is not valid: use an absolute path of letters, digits and any of . _ @ + = , -"
        )
    return str(PurePosixPath("/", *PurePosixPath(path).parts[1:]))


def _is_within(path: str, other: str) -> bool:
    return PurePosixPath(path).is_relative_to(other)
