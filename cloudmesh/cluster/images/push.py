"""Pushes an image from the operator's Docker daemon to the cluster's registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.images import packed_image
from cloudmesh.cluster.images.catalog import split_tag

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report
    from cloudmesh.cluster.images.registry import Registry


_SILENCE_SECONDS = 600.0
_OURS = "cloudmesh/"


def push(tag: str, registry: Registry, *, report: Report, name: str = "") -> str:
    """Push an image unless the registry has it.

    Args:
        tag: tag of the image in the operator's Docker daemon, such as "cloudmesh/spark:4.0.1-…".
        registry: the registry, on 127.0.0.1 of this machine.
        report: where progress is reported.
        name: "REPOSITORY:TAG" that the image gets in the registry; empty: `tag`.

    Returns:
        The image's name within the registry: `name` or `tag`.

    Raises:
        ImageError: the Docker daemon does not have the image, there is no room for it here, or the registry does not
            answer or refuses it.
    """
    name = name or tag
    repository, version = split_tag(name)
    if registry.has_manifest(repository, version):
        return name
    client = docker_client.connect(timeout=_SILENCE_SECONDS)
    try:
        with (
            docker_client.translate_errors(f"pushing {tag}"),
            _open_packed(client, tag, report) as folder,
        ):
            packed_image.push_folder(folder, registry, repository, version, partial(report.step, tag))
    finally:
        client.close()
    report.done(tag, "in the registry")
    return name


@contextmanager
def _open_packed(client: Any, tag: str, report: Report) -> Iterator[Path]:
    """Yield the folder of an image, see `packed_image.py`; those of others are not kept."""
    image = client.images.get(tag)

    def make(folder: Path) -> None:
        report.step(tag, "fetch it from the Docker engine, and compress it")
        packed_image.pack(image.save(named=True), folder, tag)

    if tag.startswith(_OURS):
        waits = partial(report.step, tag, "wait for another command that is compressing it")
        with packed_image.open_cached(split_tag(tag)[0], image.id, make, waits) as folder:
            yield folder
        return
    with TemporaryDirectory(prefix="cms-image-") as scratch:
        try:
            make(Path(scratch))
        except OSError as error:
            raise ImageError(
                f"image {tag} could not be pushed: no file could be written here: {error.strerror}"
            ) from error
        yield Path(scratch)
