"""A cluster of a host that paramiko cannot speak to: OpenSSH carries scripts, binaries and the engine's API."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cms import Operator
from support.hosts import make_unique_name, start_hosts

pytestmark = pytest.mark.cluster

SETTING = "/etc/ssh/sshd_config.d/00-cipher.conf"


def test_a_cluster_lives_on_a_host_that_only_openssh_can_speak_to(tmp_path: Path) -> None:
    name = make_unique_name("ossh")
    (tmp_path / "home").mkdir()
    with start_hosts(name, tmp_path) as group:
        (host,) = group.hosts
        operator = Operator(tmp_path / "home", group.key)
        host.run(f"echo 'Ciphers chacha20-poly1305@openssh.com' >{SETTING}; systemctl restart ssh")
        operator.cms("create", "-n", name, host.where).ok()
        assert operator.cms("info", "-n", name, "--output=json").json()["healthy"]
        assert name in [cluster["name"] for cluster in operator.cms("list", "--output=json").json()]
        operator.cms("kill", "-n", name, "--yes").ok()
        assert not host.read_cluster_id()
