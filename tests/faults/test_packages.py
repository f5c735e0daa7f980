"""Package sources, packages and folders that are not as they should be while a cluster is made or taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cms import Operator
from support.hosts import MARKER, make_unique_name, prepare_local_cluster, start_hosts

pytestmark = pytest.mark.cluster

# A source that takes connections and never answers keeps apt waiting, with the lock of the lists in its hands.
OTHER_APT = """
systemd-run --quiet --unit=silent systemd-socket-activate -l 8999 /bin/sleep infinity
echo 'deb [trusted=yes] http://127.0.0.1:8999/ stable main' >/root/silent.list
systemd-run --quiet --unit=other-apt apt-get update -o Dir::Etc::sourcelist=/root/silent.list \\
    -o Dir::Etc::sourceparts=/dev/null -o Acquire::http::Timeout=300 -o Acquire::Retries=0
"""
BROKEN_SOURCE = "echo 'deb file:/nonexistent stable main' >/etc/apt/sources.list.d/broken.list"


def test_another_apt_is_waited_for_and_a_broken_source_beside_good_ones_is_told(tmp_path: Path) -> None:
    with prepare_local_cluster("fapt", 1, tmp_path) as cluster:
        cluster.boot_hosts()
        (host,) = cluster.list_hosts()
        host.run(f"{BROKEN_SOURCE}\n{OTHER_APT}")
        with cluster.start_create() as create:
            create.wait_until_shown(
                f"{host.name}: waiting for another apt: E: Could not get lock /var/lib/apt/lists/lock"
            )
            host.run("systemctl stop other-apt")
            stderr = create.wait(180).ok().stderr
        assert (
            "apt-get update: E: The repository 'file:/nonexistent stable Release' does not have a Release file"
            in stderr
        )


def test_a_package_on_hold_is_named_before_anything_is_changed_and_a_half_configured_one_passes(tmp_path: Path) -> None:
    with prepare_local_cluster("fhold", 1, tmp_path) as cluster:
        cluster.boot_hosts()
        (host,) = cluster.list_hosts()
        host.run("apt-get -qq update && apt-mark hold docker.io")
        before = host.list_packages()
        for option in ((), ("--dryrun",)):
            held = f"^{host.name}: the package docker.io is on hold: apt-mark unhold docker.io"
            cluster.create(*option).expect_failure(1, held)
        assert host.list_packages() == before
        assert not host.succeeds(f"ls {MARKER} /var/lib/cloudmesh")
        host.run("apt-mark unhold docker.io; cd /tmp && apt-get -qq download nftables && dpkg --unpack nftables_*.deb")
        assert "iU  nftables" in host.list_packages()
        cluster.create().ok()
        cluster.check_whole()


def test_kubernetes_leaves_a_host_whose_modules_are_read_only(tmp_path: Path) -> None:
    name = make_unique_name("froot")
    with start_hosts(f"{name}-h", tmp_path) as group:
        (host,) = group.hosts
        host.run(
            "mkdir -p /usr/lib/modules; umount /usr/lib/modules || true; mount -t tmpfs -o ro none /usr/lib/modules"
        )
        operator = Operator(tmp_path, group.key)
        operator.cms("create", "-n", name, "-p", "kubernetes", host.where).ok()
        operator.cms("kill", "-n", name, "--yes").ok()
        assert not host.succeeds("ls -d /etc/cloudmesh /var/lib/cloudmesh")
