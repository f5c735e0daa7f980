"""Has the Docker daemon build an image of files that are given, and follows the build to its end."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core import archive
from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.docker_daemon import docker_client

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report


_STEP = re.compile(r"Step (\d+/\d+) : (.*)")
_LAST_LINES = 15


def pack_context(files: Mapping[str, bytes]) -> bytes:
    """Return the build context as a tar archive. Scripts in it are executable, however they were installed."""
    return archive.pack(
        {name: (content, 0o755 if content.startswith(b"#!") else 0o644) for name, content in files.items()}
    )


def build(client: Any, name: str, tag: str, context: bytes, arguments: Mapping[str, str], report: Report) -> None:
    """Build an image.

    Args:
        client: a Docker client.
        name: what the report and errors call the image.
        tag: the image's tag.
        context: the build context, a tar archive with the Dockerfile.
        arguments: of the Dockerfile: values by name.
        report: where progress is reported, one line for each step of the build.

    Raises:
        ImageError: the build failed; the message ends with its last lines.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with docker_client.translate_errors(f"building {tag}"):
        for event in client.api.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            tag=tag,
            buildargs=dict(arguments),
            rm=True,
            forcerm=True,
            decode=True,
        ):
            for line in str(event.get("stream", "")).splitlines():
                if step := _STEP.match(line):
                    report.step(name, f"{step[1]} {_shorten(step[2])}")
                if line.strip():
                    last.append(re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip()))
            if "error" in event:
                shown = (f"image {name} could not be built; its last lines:", *last, event["error"].strip())
                raise ImageError("\n".join(shown))


def _shorten(instruction: str) -> str:
    text = " ".join(instruction.split())
    return text if len(text) <= 60 else text[:59] + "…"
