"""Builds images in the Docker daemon of the operator's machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.core.user_cache import make_alone
from cloudmesh.cluster.docker_daemon import debian_base, docker_client, image_build
from cloudmesh.cluster.images import catalog

if TYPE_CHECKING:
    from cloudmesh.cluster.core.context import Context
    from cloudmesh.cluster.core.report import Report


_SILENCE_SECONDS = 900.0  # a build step may work that long without any output
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
_ARGUMENTS = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_TRUSTED_HOST", "MAVEN_MIRROR_URL")


def build_builtin_image(name: str, context: Context) -> str:
    """Build an image of `catalog.IMAGES` by its name, unless the Docker daemon has it, and return its tag.

    Raises:
        NotFoundError: `catalog.IMAGES` has no such name.
        ImageError: the build failed, or no Docker daemon answers; see `build_image`.
    """
    return build_image(catalog.find(name), report=context.report, ca_bundle=context.ca_bundle)


def build_image(image: catalog.Image, *, report: Report, base: str = "", ca_bundle: str = "") -> str:
    """Build an image unless the Docker daemon has it.

    The proxies of the environment (`http_proxy`, …), `PIP_INDEX_URL`, `PIP_TRUSTED_HOST` and `MAVEN_MIRROR_URL` are
    passed to the build and do not become part of the image.

    Args:
        image: what to build.
        report: where progress is reported, one line for each step of the build.
        base: tag of the image to build on; empty: the Debian base of `catalog.RELEASE`, which is made if it is missing.
        ca_bundle: PEM file with the certificate authorities that the build trusts; empty: the file that the environment
            names, if any. The build uses it; the image does not contain it.

    Returns:
        The image's tag.

    Raises:
        ImageError: the build failed (the message ends with its last lines), `ca_bundle` cannot be read, or no Docker
            daemon answers.
    """
    name, tag = image.name, image.tag(base)
    client = docker_client.connect(timeout=_SILENCE_SECONDS)
    try:
        if debian_base.image_exists(client, tag):
            return tag
        # Of many commands that need it at once, one builds it.
        waiting = f"waiting for another command that is building {tag}"
        with make_alone(f"image-{name}", lambda: report.step(name, waiting)):
            if not debian_base.image_exists(client, tag):
                context = pack_context(image.context(), _read_ca_bundle(ca_bundle))
                base = base or debian_base.base_image(catalog.RELEASE, report=report)
                image_build.build(client, name, tag, context, {"BASE": base, **_build_arguments()}, report)
                report.done(name, tag)
        return tag
    finally:
        client.close()


def pack_context(files: Mapping[str, bytes], ca_bundle: bytes) -> bytes:
    """Return the build context of an image's files and of the certificate authorities, if there are any."""
    return image_build.pack_context({**files, "ca-bundle.pem": ca_bundle} if ca_bundle else files)


def _build_arguments() -> dict[str, str]:
    """Return the proxies and package indexes that the environment names, in lower or upper case."""
    arguments = {name: os.environ.get(name) or os.environ.get(name.upper(), "") for name in _ARGUMENTS}
    return {name: value for name, value in arguments.items() if value}


def _read_ca_bundle(path: str) -> bytes:
    """Return the certificate authorities for the build; nothing where neither `path` nor the environment names a file.

    Raises:
        ImageError: the file `path` cannot be read. (A file of the environment that cannot be read is passed over.)
    """
    if path:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise ImageError(f"CA bundle {path}: {error.strerror}") from error
    for name in _CA_VARIABLES:
        file = Path(os.environ.get(name, ""))
        if file.is_file() and os.access(file, os.R_OK):
            return file.read_bytes()
    return b""
