"""Package sources that are not as they should be while a cluster is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hosts import prepare_local_cluster

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
