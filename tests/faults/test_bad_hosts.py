"""Hosts that cannot become part of a cluster: all are told, each with its cause, before any host is changed."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import packages
from running import cms
from support.hosts import USER, Group, HandMade, group_name, hand_made

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with hand_made(group_name("fbad"), tmp_path_factory.mktemp("key"), ["13"] * 3) as made:
        yield made


@pytest.fixture
def login(group: Group) -> tuple[str, ...]:
    return ("--user", USER, "--key", str(group.key))


def state(host: HandMade) -> str:
    """What a create would change first."""
    ours = host.run("ls -d /etc/cloudmesh /opt/cloudmesh /var/lib/cloudmesh/* /run/cloudmesh* 2>/dev/null || true")
    return packages(host) + ours


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def nobodys_address(group: Group) -> str:
    """An address of the hosts' network that no host has."""
    return str(ipaddress.ip_network(group.network.attrs["IPAM"]["Config"][0]["Subnet"])[-2])


def test_hosts_without_a_way_in_are_all_told_apart_and_the_good_one_is_left_alone(
    group: Group, login: tuple[str, ...], tmp_path: Path
) -> None:
    good, wrong_key, no_sudo = group.hosts
    wrong_key.run(f"mv /home/{USER}/.ssh/authorized_keys /root/")
    no_sudo.run("mv /etc/sudoers.d/ops /root/")
    before, closed, nobody = state(good), closed_port(), nobodys_address(group)
    hosts = [*group.where, f"127.0.0.1:{closed}", "no-such-host.invalid", nobody]
    try:
        ended = cms(tmp_path, "create", "-n", "t-fbad", *login, "--accept-new-hostkeys", *hosts, seconds=45)
    finally:
        wrong_key.run(f"mv /root/authorized_keys /home/{USER}/.ssh/")
        no_sudo.run("mv /root/ops /etc/sudoers.d/")
    causes = (
        f"^{wrong_key.where}: user {USER}: the host refused .*key",
        f"^{no_sudo.where}: .*sudo",
        f"^127.0.0.1:{closed}: connection refused",
        "^no-such-host.invalid: DNS knows no address",
        f"^{nobody}: no (way|answer)",
    )
    assert len(ended.failed(1, *causes)) == len(causes)
    assert state(good) == before


def test_a_port_that_is_taken_and_a_small_disk_are_told_before_anything_is_changed(
    group: Group, login: tuple[str, ...], tmp_path: Path
) -> None:
    busy, small, _ = group.hosts
    before = [state(host) for host in group.hosts]
    busy.run("systemd-run --quiet --unit=squatter systemd-socket-activate -l 4646 /bin/cat")
    small.run("mount -t tmpfs -o size=100m none /var/lib/docker")
    try:
        ended = cms(tmp_path, "create", "-n", "t-fbad", *login, "--accept-new-hostkeys", *group.where, seconds=45)
    finally:
        busy.run("systemctl stop squatter")
        small.run("umount /var/lib/docker")
    room = "too little disk space: 100 MiB are free on /var/lib/docker, "
    causes = (f"^{busy.where}: port 4646 is taken", f"^{small.where}: {room}")
    assert len(ended.failed(1, *causes)) == len(causes)
    assert [state(host) for host in group.hosts] == before


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_a_changed_one_whatever_the_flags(
    group: Group, login: tuple[str, ...], tmp_path: Path
) -> None:
    host = group.hosts[0]
    before = state(host)
    create = ("create", "-n", "t-fbad", *login, host.where)

    def fingerprint() -> str:
        return re.escape(host.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key").split()[1])

    unknown = f"^{host.where}: unknown host key .* {fingerprint()}: .*--accept-new-hostkeys"
    assert len(cms(tmp_path, *create, seconds=30).failed(1, unknown)) == 1
    cms(tmp_path, *create, "--accept-new-hostkeys", "--dryrun", seconds=30).ok()
    cms(tmp_path, *create, "--dryrun", seconds=30).ok()
    old = fingerprint()
    host.run("rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
    host.run("systemctl restart ssh")
    changed = f"^{host.where}: the host key has CHANGED: it shows {fingerprint()}, .* {old};"
    assert len(cms(tmp_path, *create, "--accept-new-hostkeys", "--yes", seconds=30).failed(1, changed)) == 1
    assert state(host) == before
