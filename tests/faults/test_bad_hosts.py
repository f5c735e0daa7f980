"""Hosts that cannot become part of a cluster: every one is named with its cause before any host is changed."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cms import USER, Operator
from support.hosts import PASSWORD, ContainerHost, HostGroup, make_unique_name, start_hosts

pytestmark = [pytest.mark.cluster, pytest.mark.sample]


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostGroup]:
    with start_hosts(make_unique_name("fbad"), tmp_path_factory.mktemp("key"), ["13"] * 3) as group:
        yield group


@pytest.fixture
def operator(group: HostGroup, tmp_path: Path) -> Operator:
    return Operator(tmp_path, group.key)


def read_state(host: ContainerHost) -> str:
    """Return what a create would change first: packages, and files of ours."""
    ours = host.run("ls -d /etc/cloudmesh /opt/cloudmesh /var/lib/cloudmesh/* /run/cloudmesh* 2>/dev/null || true")
    return host.list_packages() + ours


def find_closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def find_unused_address(group: HostGroup) -> str:
    """Return an address of the hosts' network that no host has."""
    return str(ipaddress.ip_network(group.network.attrs["IPAM"]["Config"][0]["Subnet"])[-2])


def test_hosts_without_a_way_in_are_all_told_apart_and_the_good_one_is_left_alone(
    group: HostGroup, operator: Operator
) -> None:
    good, wrong_key, no_sudo = group.hosts
    wrong_key.run(f"mv /home/{USER}/.ssh/authorized_keys /root/")
    no_sudo.run("mv /etc/sudoers.d/ops /root/")
    before, closed, unused = read_state(good), find_closed_port(), find_unused_address(group)
    hosts = [*group.where, f"127.0.0.1:{closed}", "no-such-host.invalid", unused]
    try:
        outcome = operator.cms("create", "-n", "t-fbad", *hosts, seconds=45)
    finally:
        wrong_key.run(f"mv /root/authorized_keys /home/{USER}/.ssh/")
        no_sudo.run("mv /root/ops /etc/sudoers.d/")
    causes = (
        f"^{wrong_key.where}: user {USER}: the host refused .*key",
        f"^{no_sudo.where}: .*sudo",
        f"^127.0.0.1:{closed}: connection refused",
        "^no-such-host.invalid: DNS knows no address",
        f"^{unused}: no (way|answer)",
    )
    assert len(outcome.expect_failure(1, *causes)) == len(causes)
    assert read_state(good) == before


def test_hosts_that_log_in_and_give_no_root_are_all_told_apart(group: HostGroup, operator: Operator) -> None:
    closed, tty, asks = group.hosts
    before = [read_state(host) for host in group.hosts]
    closed.run(f"usermod --shell /usr/sbin/nologin {USER}")
    tty.run(f"umask 227; echo 'Defaults:{USER} requiretty' >/etc/sudoers.d/tty")
    asks.ask_for_sudo()
    try:
        outcome = operator.cms("create", "-n", "t-fbad", *group.where, seconds=45)
    finally:
        closed.run(f"usermod --shell /bin/sh {USER}")
        tty.run("rm /etc/sudoers.d/tty")
        asks.allow_sudo()
    causes = (
        f'^{closed.where}: user {USER} cannot run commands: .* answered "This account is currently not available."',
        f"^{tty.where}: sudo refused user {USER}: it wants a terminal, .*you must have a tty to run sudo",
        f"^{asks.where}: sudo wants a password of user {USER} .*run on a terminal",
    )
    assert len(outcome.expect_failure(1, *causes)) == len(causes)
    assert [read_state(host) for host in group.hosts] == before


def test_hosts_whose_shells_print_and_whose_sudo_passwords_differ_are_planned(
    group: HostGroup, operator: Operator
) -> None:
    prints, asks, asks_for_another = group.hosts
    start_up = "printf 'no newline'; echo oops >&2; trap 'echo bye' EXIT; PATH=/nowhere"
    prints.run(f'usermod --shell /bin/bash {USER}; echo "{start_up}" >/home/{USER}/.bashrc')
    prints.run("mount -t tmpfs -o ro none /tmp")
    asks.ask_for_sudo()
    asks_for_another.ask_for_sudo()
    asks_for_another.run(f"echo '{USER}:another' | chpasswd")

    def answer(question: str) -> str:
        return "another" if asks_for_another.where in question else PASSWORD

    try:
        words = ("create", "-n", "t-fbad", *group.where, "--dryrun")
        outcome = operator.cms_on_terminal(f"sudo password of {USER}@127.0.0.1:", answer, *words)
    finally:
        prints.run(f"usermod --shell /bin/sh {USER}; rm /home/{USER}/.bashrc; umount /tmp")
        asks_for_another.run(f"echo '{USER}:{PASSWORD}' | chpasswd")
        asks.allow_sudo()
        asks_for_another.allow_sudo()
    assert outcome.status == 0, outcome
    assert all(f"{where}: would " in outcome.stderr for where in group.where)
    assert outcome.stderr.count("sudo password of") == 2


def test_a_port_that_is_taken_and_a_small_disk_are_told_before_anything_is_changed(
    group: HostGroup, operator: Operator
) -> None:
    busy, small, _ = group.hosts
    before = [read_state(host) for host in group.hosts]
    busy.run("systemd-run --quiet --unit=squatter systemd-socket-activate -l 4646 /bin/cat")
    small.run("mount -t tmpfs -o size=100m none /var/lib/docker")
    try:
        outcome = operator.cms("create", "-n", "t-fbad", *group.where, seconds=45)
    finally:
        busy.run("systemctl stop squatter")
        small.run("umount /var/lib/docker")
    room = "too little disk space: 100 MiB are free on /var/lib/docker, "
    causes = (f"^{busy.where}: port 4646 is taken", f"^{small.where}: {room}")
    assert len(outcome.expect_failure(1, *causes)) == len(causes)
    assert [read_state(host) for host in group.hosts] == before


def test_a_dry_run_meets_what_the_real_create_meets(group: HostGroup, operator: Operator) -> None:
    _, held, routed = group.hosts
    before = read_state(routed)
    create = ("create", "-n", "t-fbad", "-p", "kubernetes")
    routed.run("ip route add blackhole 10.244.7.0/24")
    try:
        with operator.start("create", "-n", "t-fother", held.where) as running:
            running.wait_until_shown("lock", "facts")
            holder = f"^{held.where} is being changed by .* for cluster t-fother"
            operator.cms(*create, held.where, "--dryrun", seconds=45).expect_failure(1, holder)
            running.kill()
        # A new cluster gets networks that are free.
        operator.cms(*create, routed.where, "--dryrun", seconds=45).ok()
    finally:
        routed.run("ip route del blackhole 10.244.7.0/24")
        operator.cms("kill", "-n", "t-fother", "--yes")
    assert read_state(routed) == before


def test_a_server_that_forwards_nothing_is_told_by_a_dry_run_and_before_anything_is_changed(
    group: HostGroup, operator: Operator
) -> None:
    host = group.hosts[0]
    before = read_state(host)
    setting = "/etc/ssh/sshd_config.d/00-no-forwarding.conf"
    host.run(f"echo 'AllowTcpForwarding no' >{setting}; systemctl restart ssh")
    cause = f"^{host.where}: its sshd opens no forwarding.*set AllowTcpForwarding yes"
    try:
        for words in (("--dryrun",), ()):
            outcome = operator.cms("create", "-n", "t-fbad", host.where, *words, seconds=45)
            assert len(outcome.expect_failure(1, cause)) == 1
    finally:
        host.run(f"rm {setting}; systemctl restart ssh")
    assert read_state(host) == before


def test_a_host_that_only_openssh_can_speak_to_is_looked_at_as_any_other(group: HostGroup, operator: Operator) -> None:
    host = group.hosts[0]
    setting = "/etc/ssh/sshd_config.d/00-cipher.conf"
    host.run(f"echo 'Ciphers chacha20-poly1305@openssh.com' >{setting}; systemctl restart ssh")
    try:
        outcome = operator.cms("create", "-n", "t-fbad", host.where, "--dryrun", seconds=60).ok()
    finally:
        host.run(f"rm {setting}; systemctl restart ssh")
    assert "bootstrap" in outcome.stderr


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_a_changed_one_whatever_the_flags(
    group: HostGroup, operator: Operator
) -> None:
    host = group.hosts[0]
    before = read_state(host)
    create = ("create", "-n", "t-fbad", host.where)
    wary = dataclasses.replace(operator, trusting=False)

    def read_fingerprint() -> str:
        return re.escape(host.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key").split()[1])

    unknown = f"^{host.where}: unknown host key .* {read_fingerprint()}: .*--accept-new-hostkeys"
    assert len(wary.cms(*create, seconds=30).expect_failure(1, unknown)) == 1
    operator.cms(*create, "--dryrun", seconds=30).ok()
    wary.cms(*create, "--dryrun", seconds=30).ok()
    old = read_fingerprint()
    host.run("rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
    host.run("systemctl restart ssh")
    changed = f"^{host.where}: the host key has CHANGED: it shows {read_fingerprint()}, .* {old};"
    assert len(operator.cms(*create, "--yes", seconds=30).expect_failure(1, changed)) == 1
    assert read_state(host) == before
