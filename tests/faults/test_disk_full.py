"""Disks without room while a cluster is made: the cause is shown, and no file that was cut short is taken for whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hosts import ContainerHost, prepare_local_cluster

from cloudmesh.cluster.binaries.provision import provide
from cloudmesh.cluster.core.report import Silence

pytestmark = [pytest.mark.cluster, pytest.mark.sample]

CONFIG, ENGINE, REGISTRY = "/etc/cloudmesh", "/opt/cloudmesh", "/var/lib/cloudmesh/registry"


def mount_small_disk(host: ContainerHost, path: str, size: str) -> None:
    """Mount a disk at `path` that is too small, where the preflight does not look."""
    host.run(f"mkdir -p {path}; mount -t tmpfs -o size={size} none {path}")


def make_room(host: ContainerHost, path: str) -> None:
    host.run(f"mount -o remount,size=1g {path}")


def list_engine(host: ContainerHost) -> str:
    """Return the SHA-256 of the host's nomad, then the names of all its binaries."""
    return host.run(f"cd {ENGINE}/bin 2>/dev/null || exit 0; sha256sum nomad 2>/dev/null | cut -d ' ' -f 1; ls")


def test_a_full_disk_is_told_nothing_is_left_half_and_with_room_the_same_command_finishes(tmp_path: Path) -> None:
    (nomad,) = provide("nomad", report=Silence()).files
    whole = f"{nomad.sha256}\nnomad"
    with prepare_local_cluster("fdisk", 2, tmp_path) as cluster:
        cluster.boot_hosts()
        first, second = cluster.list_hosts()
        mount_small_disk(first, REGISTRY, "20m")
        mount_small_disk(second, CONFIG, "8k")
        mount_small_disk(second, ENGINE, "20m")

        sent = f"^{first.name}: the engine could not be sent to it: .*no space left on device"
        written = f"^{second.name}: could not write {CONFIG}/cluster/.*No space left on device"
        assert len(cluster.create().expect_failure(1, sent, written)) == 2
        assert list_engine(first) == list_engine(second) == ""
        assert second.run(f"find {CONFIG} -name '*.new'") == ""
        make_room(first, REGISTRY)
        make_room(second, CONFIG)

        fetched = f"^{second.name}: could not fetch nomad .* 0 MiB are free in {ENGINE}/bin"
        assert len(cluster.create().expect_failure(1, fetched)) == 1
        assert list_engine(first) == whole
        assert list_engine(second) == ""
        make_room(second, ENGINE)

        cluster.create().ok()
        cluster.check_whole()
        assert list_engine(second) == whole
