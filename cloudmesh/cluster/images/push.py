"""Delivers an image from the operator's Docker engine to the cluster's registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.images.registry import Registry

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report


_SILENCE = 600.0


def push(tag: str, registry_port: int, *, report: Report, name: str = "") -> str:
    """Push an image unless the registry has it.

    Args:
        tag: of the image in the operator's engine: "cloudmesh/spark:4.0.1-…".
        registry_port: of a plain listener on 127.0.0.1 that leads to the registry, as the engine sees it.
        report: where progress goes.
        name: what the registry shall call it, a repository and a tag; empty: as the engine does.

    Returns:
        The image's name within the registry, `name` or `tag`.

    Raises:
        ImageError: the engine does not have the image, or could not push it, or the registry does not answer.
    """
    name = name or tag
    repository, _, version = name.partition(":")
    if Registry(registry_port).has_manifest(repository, version):
        return name
    client = docker_client.connect(timeout=_SILENCE)
    target = f"127.0.0.1:{registry_port}/{repository}"
    try:
        with docker_client.translate_errors(f"pushing {tag}"):
            client.images.get(tag).tag(target, tag=version)
            try:
                _follow(tag, client.api.push(target, tag=version, stream=True, decode=True), report)
            finally:
                client.images.remove(f"{target}:{version}", noprune=True)
    finally:
        client.close()
    report.done(tag, "in the registry")
    return name


def _follow(tag: str, events: Iterable[Mapping[str, Any]], report: Report) -> None:
    """Report how much has been sent until the push has ended.

    Raises:
        ImageError: it failed.
    """
    report.step(tag, "push")
    sent: dict[str, int] = {}
    shown = 0
    for event in events:
        if "error" in event:
            raise ImageError(f"image {tag} could not be pushed: {event['error']}")
        if current := event.get("progressDetail", {}).get("current"):
            sent[event["id"]] = current
        tenths = sum(sent.values()) // 100_000_000
        if tenths > shown:
            shown = tenths
            report.step(tag, f"push, {shown * 100} MB")
