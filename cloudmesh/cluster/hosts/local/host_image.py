"""The image of the local hosts: a Debian with systemd and sshd."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.docker_daemon.debian_base import base_image, image_exists
from cloudmesh.cluster.docker_daemon.image_build import build, pack_context

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report


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
        build(client, where, tag, context, {"BASE": base}, report)
        report.done(where)
    return tag


def build_context() -> bytes:
    """Return the build context as a tar archive; equal files give equal archives."""
    folder = resources.files("cloudmesh.images") / "local"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    not_in_image = ("docker-engine.sh", "booted.sh")
    return pack_context({name: files[name] for name in sorted(files) if name not in not_in_image})
