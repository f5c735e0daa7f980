"""The image of the local hosts: a Debian with systemd and sshd."""

from __future__ import annotations

import hashlib
import io
import tarfile
from importlib import resources
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.docker_daemon.debian_base import base_image, image_exists

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report

_LAST_LINES = 8


def host_image(client: Any, debian: str, *, report: Report) -> str:
    """Return the tag of the local hosts' image for a Debian release; build it if the Docker daemon does not have it.

    Args:
        client: a Docker client.
        debian: the Debian release, "12" or "13".
        report: receives the progress.

    Raises:
        ImageError: there is no base image, or the build failed; the message has the last lines of the build.
    """
    base = base_image(debian, report=report)
    with docker_client.translate_errors():
        base_id = client.images.get(base).id
    context = build_context()
    content = hashlib.sha256(base_id.encode() + context).hexdigest()[:12]
    tag = f"cloudmesh/local-host:{debian}-{content}"
    if not image_exists(client, tag):
        where = f"local-host-{debian}"
        report.step(where, "build")
        _build(client, context, base, tag)
        report.done(where)
    return tag


def build_context() -> bytes:
    """Return the build context as a tar archive; equal files give equal archives."""
    buffer = io.BytesIO()
    folder = resources.files("cloudmesh.images") / "local"
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            # the two scripts are not part of the image
            if not file.is_file() or file.name in ("docker-engine.sh", "booted.sh"):
                continue
            content = file.read_bytes()
            member = tarfile.TarInfo(file.name)
            member.size, member.mode = len(content), 0o755 if content.startswith(b"#!") else 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _build(client: Any, context: bytes, base: str, tag: str) -> None:
    """Build the image `tag` from the base image `base`.

    Raises:
        ImageError: the build failed; the message has its last lines.
    """
    lines: list[str] = []
    with docker_client.translate_errors(f"building {tag}"):
        for event in client.api.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            tag=tag,
            buildargs={"BASE": base},
            rm=True,
            forcerm=True,
            decode=True,
        ):
            if "error" in event:
                shown = " | ".join([*lines[-_LAST_LINES:], event["error"].strip()])
                raise ImageError(f"building {tag} failed: {shown}")
            lines += [line for line in event.get("stream", "").splitlines() if line.strip()]
