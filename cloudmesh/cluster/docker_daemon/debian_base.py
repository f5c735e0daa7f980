"""The Debian base of all images: pulled from a registry if one answers, else made from the machine's package mirror."""

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
_PULL_SILENCE = 10.0  # seconds without progress after which a pull is given up


def base_image(release: str, *, report: Report) -> str:
    """Return the tag of a Debian slim image; pull or make it if the Docker daemon does not have it.

    Args:
        release: the Debian release, "12" or "13".
        report: receives the progress.

    Raises:
        UsageError: the release is neither of them.
        ImageError: both the pull and debootstrap failed, or no Docker daemon answers.
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
        failure = _pull(release, tag)
        if failure:
            report.note(f"debian:{release}-slim cannot be pulled ({failure}): making it with debootstrap")
            _bootstrap(client, release, tag, report)
        report.done(where)
        return tag
    finally:
        client.close()


def image_sizes(tags: Iterable[str]) -> dict[str, int]:
    """Return the sizes in bytes of the images that the Docker daemon has, by tag; none where no daemon is in reach."""
    if not docker_client.within_reach():
        return {}
    client = docker_client.connect()
    try:
        return {tag: int(client.images.get(tag).attrs["Size"]) for tag in tags if image_exists(client, tag)}
    finally:
        client.close()


def image_exists(client: Any, tag: str) -> bool:
    """Return whether the Docker daemon has an image with this tag."""
    import docker.errors

    with docker_client.translate_errors():
        try:
            client.images.get(tag)
        except docker.errors.ImageNotFound:
            return False
        return True


def _pull(release: str, tag: str) -> str:
    """Pull the official image, and return why it failed; empty if it succeeded. A silent network is given up early."""
    progress: SimpleQueue[tuple[bool, str]] = SimpleQueue()
    # The SDK has no time limit for a pull, so it runs in a thread, which is abandoned if it hangs.
    Thread(target=_pull_in_thread, args=(f"{release}-slim", tag, progress.put), daemon=True).start()
    has_ended, failure = False, ""
    while not has_ended:
        try:
            has_ended, failure = progress.get(timeout=_PULL_SILENCE)
        except Empty:
            return f"no sign of a registry in {_PULL_SILENCE:.0f} s"
    return failure


def _pull_in_thread(version: str, tag: str, tell: Callable[[tuple[bool, str]], None]) -> None:
    """Pull debian:VERSION as `tag`; at every progress, `tell` whether the pull has ended and why it failed."""
    repository, _, target_version = tag.partition(":")
    try:
        client = docker_client.connect()
        with docker_client.translate_errors():
            for event in client.api.pull("debian", tag=version, stream=True, decode=True):
                if "error" in event:
                    raise ImageError(event["error"])
                tell((False, ""))
            client.api.tag(f"debian:{version}", repository, target_version)
    except ImageError as error:
        tell((True, str(error)))
    else:
        client.close()
        tell((True, ""))


def _bootstrap(client: Any, release: str, tag: str, report: Report) -> None:
    """Make the base image with debootstrap and import it as `tag`."""
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
    """Return a directory on a disk, with room for some hundred megabytes; None for the default temporary directory."""
    return "/var/tmp" if Path("/var/tmp").is_dir() else None  # noqa: S108  # callers create a private directory in it


def _run_debootstrap(script: Path, codename: str, archive: Path, lines: ScriptOutput) -> None:
    """Run the debootstrap script.

    Raises:
        ImageError: the script failed; the message is its `::fail` line, else its last line.
    """
    command = ["sh", str(script), codename, str(archive)]
    with subprocess.Popen(  # noqa: S603  # the script and its arguments are ours
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                lines.feed(line.rstrip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        last_line = lines.output[-1] if lines.output else f"exit status {process.returncode}"
        raise ImageError(lines.failure or f"debootstrap {codename}: {last_line}")
