"""Pushes an image from the operator's Docker daemon to the cluster's registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.images.archive_push import push_archive
from cloudmesh.cluster.images.catalog import split_tag

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report
    from cloudmesh.cluster.images.registry import Registry


_SILENCE_SECONDS = 600.0


def push(tag: str, registry: Registry, *, report: Report, name: str = "") -> str:
    """Push an image unless the registry has it.

    Args:
        tag: tag of the image in the operator's Docker daemon, such as "cloudmesh/spark:4.0.1-…".
        registry: the registry, on 127.0.0.1 of this machine. A daemon that runs elsewhere cannot reach it: the image
            is fetched from it then, and pushed from here.
        report: where progress is reported.
        name: "REPOSITORY:TAG" that the image gets in the registry; empty: `tag`.

    Returns:
        The image's name within the registry: `name` or `tag`.

    Raises:
        ImageError: the Docker daemon does not have the image or could not push it, or the registry does not answer.
    """
    name = name or tag
    repository, version = split_tag(name)
    if registry.has_manifest(repository, version):
        return name
    client = docker_client.connect(timeout=_SILENCE_SECONDS)
    try:
        with docker_client.translate_errors(f"pushing {tag}"):
            image = client.images.get(tag)
            if docker_client.shares_loopback(client):
                _let_daemon_push(client, image, tag, f"127.0.0.1:{registry.port}/{repository}", version, report)
                registry.note_pushed(repository, version)
            else:
                push_archive(image.save(named=True), tag, registry, repository, version, report)
    finally:
        client.close()
    report.done(tag, "in the registry")
    return name


def _let_daemon_push(client: Any, image: Any, tag: str, target: str, version: str, report: Report) -> None:
    image.tag(target, tag=version)
    try:
        _follow(tag, client.api.push(target, tag=version, stream=True, decode=True), report)
    finally:
        client.images.remove(f"{target}:{version}", noprune=True)


def _follow(tag: str, events: Iterable[Mapping[str, Any]], report: Report) -> None:
    """Report how much has been sent until the push has ended.

    Raises:
        ImageError: the push failed.
    """
    report.step(tag, "push")
    sent: dict[str, int] = {}  # bytes, by the layer's id
    shown = 0
    for event in events:
        if "error" in event:
            raise ImageError(f"image {tag} could not be pushed: {event['error']}")
        if current := event.get("progressDetail", {}).get("current"):
            sent[event["id"]] = current
        hundreds = sum(sent.values()) // 100_000_000
        if hundreds > shown:
            shown = hundreds
            report.step(tag, f"push, {shown * 100} MB")
