"""Builds our images on the operator's own Docker engine."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.docker_daemon import debian_base, docker_client
from cloudmesh.cluster.images import catalog

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report


_STEP = re.compile(r"Step (\d+/\d+) : (.*)")
_LAST_LINES = 15
_SILENCE = 900.0  # a step may work that long without a word
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
_ARGUMENTS = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_TRUSTED_HOST", "MAVEN_MIRROR_URL")


def build(name: str, *, report: Report, base: str = "", ca_bundle: str = "") -> str:
    """Build the image of this name, one of `catalog.IMAGES`; see `build_image`.

    Raises:
        NotFoundError: no image of ours is called that.
        ImageError: the build failed, with its last lines, or no Docker engine answers.
    """
    return build_image(catalog.find(name), report=report, base=base, ca_bundle=ca_bundle)


def build_image(image: catalog.Image, *, report: Report, base: str = "", ca_bundle: str = "") -> str:
    """Build one of our images unless the engine has it.

    The environment's proxies (`http_proxy`, …), `PIP_INDEX_URL`, `PIP_TRUSTED_HOST` and `MAVEN_MIRROR_URL` hold for the
    build, too, and are not in the image.

    Args:
        image: what to build.
        report: where progress goes, a step of the build each.
        base: tag of the image to build on; empty: the Debian base of `catalog.RELEASE`, made if it is missing.
        ca_bundle: PEM file of the authorities that the build is to trust; empty: the one that the environment names, if
            any. It is used during the build and is not in the image.

    Returns:
        The image's tag.

    Raises:
        ImageError: the build failed, with its last lines, or no Docker engine answers.
    """
    name, tag = image.name, image.tag(base)
    client = docker_client.connect(timeout=_SILENCE)
    try:
        if not debian_base.image_exists(client, tag):
            context = pack_context(image.context(), _ca_bundle(ca_bundle))
            base = base or debian_base.base_image(catalog.RELEASE, report=report)
            with docker_client.translate_errors(f"building {tag}"):
                _follow(name, _start_build(client, tag, context, base), report)
            report.done(name, tag)
        return tag
    finally:
        client.close()


def pack_context(files: Mapping[str, bytes], ca_bundle: bytes) -> bytes:
    """Return the build context as a tar archive; scripts in it are executable, wherever they were installed."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file, content in {**files, **({"ca-bundle.pem": ca_bundle} if ca_bundle else {})}.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            entry.mode = 0o755 if content.startswith(b"#!") else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def _start_build(client: Any, tag: str, context: bytes, base: str) -> Iterable[Mapping[str, Any]]:
    """Start the build; what it yields is the engine's own account of it."""
    events: Iterable[Mapping[str, Any]] = client.api.build(
        fileobj=io.BytesIO(context),
        custom_context=True,
        tag=tag,
        buildargs={"BASE": base, **_arguments()},
        rm=True,
        forcerm=True,
        decode=True,
    )
    return events


def _follow(name: str, events: Iterable[Mapping[str, Any]], report: Report) -> None:
    """Report the steps of a build until it has ended.

    Raises:
        ImageError: it failed.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    for event in events:
        for line in str(event.get("stream", "")).splitlines():
            if step := _STEP.match(line):
                report.step(name, f"{step[1]} {_short(step[2])}")
            if line.strip():
                last.append(re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip()))
        if "error" in event:
            raise ImageError("\n".join((f"image {name} could not be built; its last lines:", *last, event["error"])))


def _short(instruction: str) -> str:
    text = " ".join(instruction.split())
    return text if len(text) <= 60 else text[:59] + "…"


def _arguments() -> dict[str, str]:
    """Return what the environment says of proxies and package indexes, in whichever case it says it."""
    found = {name: os.environ.get(name) or os.environ.get(name.upper(), "") for name in _ARGUMENTS}
    return {name: value for name, value in found.items() if value}


def _ca_bundle(path: str) -> bytes:
    """Return the certificate authorities to hand in.

    Raises:
        ImageError: the file given cannot be read. One that the environment names is left out then.
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


def build_for(name: str, context: Context) -> str:
    """Build one of our images on the operator's Docker engine, unless it is there; return its tag."""

    return build(name, ca_bundle=context.ca_bundle, report=context.report)
