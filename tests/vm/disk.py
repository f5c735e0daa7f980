"""The system that the machines boot: kernel, initial file system and disk, made once and cached."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.core.user_cache import cache_directory
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.docker_daemon.debian_base import base_image

FOLDER = cache_directory() / "vm"
_CONTEXT = Path(__file__).parent
_PARTS = ("Dockerfile", "hostkeys.service", "mkdisk.sh", "operator.network", "cluster-1.network", "cluster-2.network")
_RELEASE, _SIZE = "13", "20G"  # of the sparse file


@dataclass(frozen=True)
class System:
    """What a machine boots.

    Attributes:
        disk: raw ext4, to be copied.
    """

    kernel: Path
    initrd: Path
    disk: Path


def provide_system() -> System:
    """Return the files, made by this machine's Docker daemon if they are not in the cache."""
    tag = base_image(_RELEASE, report=Silence())
    client = docker_client.connect(timeout=1200)
    try:
        base = client.images.get(tag).id
        content = b"".join((_CONTEXT / part).read_bytes() for part in _PARTS)
        digest = hashlib.sha256(f"{base} {_SIZE} ".encode() + content).hexdigest()[:12]
        folder = FOLDER / f"system-{digest}"
        if not folder.is_dir():
            making = FOLDER / f"making-{os.getpid()}"
            making.mkdir(parents=True)
            try:
                image, _ = client.images.build(path=str(_CONTEXT), buildargs={"BASE": tag}, rm=True, forcerm=True)
                command = ["sh", "/usr/local/lib/mkdisk.sh", "/out", _SIZE]
                client.containers.run(image.id, command, volumes={str(making): {"bind": "/out"}}, remove=True)
                making.rename(folder)
            finally:
                shutil.rmtree(making, ignore_errors=True)
        return System(folder / "vmlinuz", folder / "initrd.img", folder / "disk.img")
    finally:
        client.close()
