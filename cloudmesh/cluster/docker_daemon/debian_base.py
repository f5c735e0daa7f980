"""The Debian base of every image: pulled where a registry answers, else made from the machine's own package mirror."""

from __future__ import annotations

import importlib.resources
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ImageError, UsageError
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.ssh.host_script import ScriptOutput

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report


CODENAMES = {"12": "bookworm", "13": "trixie"}
_PULL_SILENCE = 10.0


def base_image(release: str, *, report: Report) -> str:
    """Return the tag of a Debian slim image, made if it is not there yet.

    Args:
        release: "12" or "13".
        report: where progress goes.

    Raises:
        UsageError: no such release.
        ImageError: neither a registry nor debootstrap gave one, or no Docker engine answers.
    """
    if release not in CODENAMES:
        raise UsageError(f"Debian release {release!a} is not one of {', '.join(CODENAMES)}")
    tag = f"cloudmesh/debian:{release}-slim"
    client = docker_client.connect()
    try:
        if image_exists(client, tag):
            return tag
        where = f"debian-{release}"
        report.step(where, "pull")
        refused = _pull(release, tag)
        if refused:
            report.note(f"debian:{release}-slim cannot be pulled ({refused}): making it with debootstrap")
            _bootstrap(client, release, tag, report)
        report.done(where)
        return tag
    finally:
        client.close()


def image_sizes(tags: Iterable[str]) -> dict[str, int]:
    """Return the size in bytes of each image that the engine has, by its tag; none where no engine is within reach."""
    if not docker_client.within_reach():
        return {}
    client = docker_client.connect()
    try:
        return {tag: int(client.images.get(tag).attrs["Size"]) for tag in tags if image_exists(client, tag)}
    finally:
        client.close()


def image_exists(client: Any, tag: str) -> bool:
    """Whether the engine has an image of this tag."""
    import docker.errors

    with docker_client.translate_errors():
        try:
            client.images.get(tag)
        except docker.errors.ImageNotFound:
            return False
        return True


def _pull(release: str, tag: str) -> str:
    """Pull the official image; return why it cannot be had, or nothing. A silent network is given up on early."""
    signs: SimpleQueue[tuple[bool, str]] = SimpleQueue()
    # the SDK has no time limit for a pull: a thread that hangs is left behind
    Thread(target=_pull_reporting, args=(f"{release}-slim", tag, signs.put), daemon=True).start()
    ended, refused = False, ""
    while not ended:
        try:
            ended, refused = signs.get(timeout=_PULL_SILENCE)
        except Empty:
            return f"no sign of a registry in {_PULL_SILENCE:.0f} s"
    return refused


def _pull_reporting(version: str, tag: str, tell: Callable[[tuple[bool, str]], None]) -> None:
    """Pull debian:VERSION as `tag`; tell whether it has ended, and why it was refused, at each sign of progress."""
    repository, _, own_version = tag.partition(":")
    try:
        client = docker_client.connect()
        with docker_client.translate_errors():
            for event in client.api.pull("debian", tag=version, stream=True, decode=True):
                if "error" in event:
                    raise ImageError(event["error"])
                tell((False, ""))
            client.api.tag(f"debian:{version}", repository, own_version)
    except ImageError as error:
        tell((True, str(error)))
    else:
        client.close()
        tell((True, ""))


def _bootstrap(client: Any, release: str, tag: str, report: Report) -> None:
    """Make the base with debootstrap and import it under `tag`."""
    repository, _, version = tag.partition(":")
    script = importlib.resources.files("cloudmesh.images") / "debian" / "debootstrap.sh"
    with tempfile.TemporaryDirectory(prefix="cloudmesh-base.", dir=roomy_directory()) as directory:
        archive = Path(directory) / "base.tar"
        with importlib.resources.as_file(script) as path:
            _run_debootstrap(path, CODENAMES[release], archive, ScriptOutput(f"debian-{release}", report))
        report.step(f"debian-{release}", "import")
        with docker_client.translate_errors(f"importing {tag}"):
            client.api.import_image_from_file(
                str(archive), repository=repository, tag=version, changes=['CMD ["bash"]', "ENV LANG=C.UTF-8"]
            )


def roomy_directory() -> str | None:
    """Return a place for some hundred megabytes that is not in memory, where there is one."""
    return "/var/tmp" if Path("/var/tmp").is_dir() else None  # noqa: S108  # a private directory is made in it


def _run_debootstrap(script: Path, codename: str, archive: Path, lines: ScriptOutput) -> None:
    """Run the debootstrap script.

    Raises:
        ImageError: it failed; the message is its own.
    """
    command = ["sh", str(script), codename, str(archive)]
    with subprocess.Popen(  # noqa: S603  # our own script and arguments
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                lines.feed(line.rstrip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        last = lines.output[-1] if lines.output else f"exit status {process.returncode}"
        raise ImageError(lines.failure or f"debootstrap {codename}: {last}")
