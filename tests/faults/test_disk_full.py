"""Disks without room while a cluster is made: the cause is told, and nothing that is cut short passes for whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import local_cluster
from support.hosts import HandMade, Silent

from cloudmesh.cluster.binaries.provision import provide

pytestmark = pytest.mark.cluster

CONFIG, ENGINE, REGISTRY = "/etc/cloudmesh", "/opt/cloudmesh", "/var/lib/cloudmesh/registry"


def fill(host: HandMade, path: str, size: str) -> None:
    """Put a disk there that is too small, where the preflight does not see it."""
    host.run(f"mkdir -p {path}; mount -t tmpfs -o size={size} none {path}")


def make_room(host: HandMade, path: str) -> None:
    host.run(f"mount -o remount,size=1g {path}")


def engine_of(host: HandMade) -> str:
    """Return the SHA-256 of a host's engine, and the names of all that lies there."""
    return host.run(f"cd {ENGINE}/bin 2>/dev/null || exit 0; sha256sum nomad 2>/dev/null | cut -d ' ' -f 1; ls")


def test_a_full_disk_is_told_nothing_is_left_half_and_with_room_the_same_command_finishes(tmp_path: Path) -> None:
    (nomad,) = provide("nomad", report=Silent()).files
    whole = f"{nomad.sha256}\nnomad"
    with local_cluster("fdisk", 2, tmp_path) as cluster:
        cluster.boot()
        one, two = cluster.hosts()
        fill(one, REGISTRY, "20m")
        fill(two, CONFIG, "8k")
        fill(two, ENGINE, "20m")

        sent = f"^{one.name}: the engine could not be sent to it: .*no space left on device"
        written = f"^{two.name}: could not write {CONFIG}/cluster/.*No space left on device"
        assert len(cluster.create().failed(1, sent, written)) == 2
        assert engine_of(one) == engine_of(two) == ""
        assert two.run(f"find {CONFIG} -name '*.new'") == ""
        make_room(one, REGISTRY)
        make_room(two, CONFIG)

        fetched = f"^{two.name}: could not fetch nomad .* 0 MiB are free in {ENGINE}/bin"
        assert len(cluster.create().failed(1, fetched)) == 1
        assert engine_of(one) == whole
        assert engine_of(two) == ""
        make_room(two, ENGINE)

        cluster.create().ok()
        cluster.is_whole()
        assert engine_of(two) == whole
