"""Local hosts on a real Docker engine: they behave like machines, and nothing is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.hosts import make_unique_name
from support.waiting import wait_until

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import UnreachableError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local import container_config, local_hosts
from cloudmesh.cluster.ssh.connect import connect

pytestmark = pytest.mark.cluster
NAME = make_unique_name("lh")


@pytest.fixture(scope="module")
def docker() -> Iterator[Any]:
    client = docker_client.connect()
    yield client
    client.close()


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Host, ...]]:
    yield local_hosts.create(NAME, 2, report=Silence())
    local_hosts.destroy(NAME)


@pytest.fixture
def settings(tmp_path: Path) -> SshSettings:
    return SshSettings(known_hosts=tmp_path / "known_hosts")


def run(host: Host, settings: SshSettings, script: str, timeout: float = 60) -> str:
    with connect(host, settings) as connection:
        return connection.run(script, timeout=timeout).output.strip()


def create_again(name: str = NAME, nodes: int = 2) -> tuple[Host, ...]:
    return local_hosts.create(name, nodes, report=Silence())


def list_cgroups(container_id: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").rglob(f"*{container_id}*"))


def test_hosts_answer_ssh_with_the_key_that_the_engine_keeps(pair: tuple[Host, ...], settings: SshSettings) -> None:
    assert [host.name for host in pair] == [f"{NAME}-1", f"{NAME}-2"]
    for host in local_hosts.find(NAME)[NAME]:
        assert run(host, settings, "hostname; id -u") == f"{host.name}\n0"


def test_hosts_have_booted_without_failed_units(pair: tuple[Host, ...], settings: SshSettings) -> None:
    for host in pair:
        assert run(host, settings, "systemctl is-system-running") == "running"


def test_each_host_has_a_machine_id_of_its_own(pair: tuple[Host, ...], settings: SshSettings) -> None:
    ids = {run(host, settings, "cat /etc/machine-id") for host in pair}
    assert len(ids) == 2
    assert all(len(id_) == 32 for id_ in ids)


def test_hosts_reach_each_other_and_have_a_real_resolver(pair: tuple[Host, ...], settings: SshSettings) -> None:
    address = run(pair[1], settings, "hostname -I").split()[0]
    assert run(pair[0], settings, f"bash -c 'head -c 4 </dev/tcp/{address}/22'") == "SSH-"
    assert "127.0.0.11" not in run(pair[0], settings, "cat /etc/resolv.conf")


def test_only_loopback_publishes_sshd(pair: tuple[Host, ...], docker: Any) -> None:
    for host in pair:
        published = docker.containers.get(host.name).ports
        assert {binding["HostIp"] for bindings in published.values() for binding in bindings or ()} == {"127.0.0.1"}


def test_create_again_restarts_nothing(pair: tuple[Host, ...], docker: Any) -> None:
    before = [docker.containers.get(host.name).attrs["State"]["StartedAt"] for host in pair]
    assert create_again() == create_again(nodes=1) == local_hosts.find()[NAME]
    assert [docker.containers.get(host.name).attrs["State"]["StartedAt"] for host in pair] == before


def test_a_stopped_host_is_unreachable_and_comes_back(
    pair: tuple[Host, ...], docker: Any, settings: SshSettings
) -> None:
    identity = run(pair[1], settings, "hostname -I; cat /etc/machine-id")
    docker.containers.get(pair[1].name).kill()
    stopped = local_hosts.find(NAME)[NAME][1]
    with pytest.raises(UnreachableError):
        connect(stopped, settings)
    host = create_again()[1]
    assert run(host, settings, "hostname -I; cat /etc/machine-id") == identity
    assert host.host_key == pair[1].host_key


def test_a_restarted_host_is_the_same_machine(pair: tuple[Host, ...], docker: Any, settings: SshSettings) -> None:
    identity = run(local_hosts.find(NAME)[NAME][0], settings, "hostname -I; cat /etc/machine-id")
    docker.containers.get(pair[0].name).restart(timeout=10)
    host = create_again()[0]
    assert (
        run(host, settings, "hostname -I; cat /etc/machine-id; systemctl is-system-running") == f"{identity}\nrunning"
    )
    assert "127.0.0.11" not in run(host, settings, "cat /etc/resolv.conf")


def test_a_host_that_is_told_to_reboot_comes_back(pair: tuple[Host, ...], docker: Any) -> None:
    container = docker.containers.get(pair[0].name)
    before = container.attrs["State"]["StartedAt"]
    container.exec_run(["systemctl", "reboot"])

    def has_restarted() -> bool:
        container.reload()
        return container.status == "running" and container.attrs["State"]["StartedAt"] != before

    wait_until(has_restarted, 30, pause=0.2)
    assert container.attrs["State"]["StartedAt"] != before
    assert len(create_again()) == 2


def test_a_host_that_is_gone_is_made_again_with_the_operator_key(
    pair: tuple[Host, ...], docker: Any, settings: SshSettings
) -> None:
    docker.containers.get(pair[1].name).remove(force=True, v=True)
    hosts = create_again()
    assert hosts[1].host_key != pair[1].host_key
    assert hosts[0].private_key == hosts[1].private_key == pair[0].private_key
    assert run(hosts[1], settings, "hostname") == pair[1].name


def test_an_interrupted_create_is_finished_by_the_next(docker: Any, settings: SshSettings) -> None:
    name = f"{NAME}i"
    try:
        (host,) = create_again(name, 1)
        image = docker.containers.get(host.name).attrs["Config"]["Image"]
        labels = {container_config.LABEL: name, container_config.HOST_KEY_LABEL: "ssh-ed25519 none"}
        docker.containers.create(image, name=container_config.name_of(name, 2), labels=labels)
        hosts = create_again(name, 2)
        assert [run(host, settings, "hostname") for host in hosts] == [f"{name}-1", f"{name}-2"]
    finally:
        local_hosts.destroy(name)


def test_nothing_is_left_after_destroy(docker: Any) -> None:
    name = f"{NAME}d"
    create_again(name, 2)
    ids = [docker.containers.get(container_config.name_of(name, index)).id for index in (1, 2)]
    assert local_hosts.destroy(name)
    label = {"label": f"{container_config.LABEL}={name}"}
    assert not docker.containers.list(all=True, filters=label)
    assert not docker.volumes.list(filters=label)
    assert not docker.networks.list(filters=label)
    assert not [path for id_ in ids for path in list_cgroups(id_)]
    assert not local_hosts.destroy(name)
    assert name not in local_hosts.find()


def test_debian_12_boots_too(settings: SshSettings) -> None:
    name = f"{NAME}b"
    try:
        (host,) = local_hosts.create(name, 1, debian="12", report=Silence())
        release = run(host, settings, ". /etc/os-release; echo $VERSION_ID; systemctl is-system-running")
        assert release == "12\nrunning"
    finally:
        local_hosts.destroy(name)


def test_a_docker_engine_runs_inside_a_host(pair: tuple[Host, ...], settings: SshSettings) -> None:
    script = """
        set -eu
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update
        apt-get -qq install --no-install-recommends docker.io docker-cli >/dev/null 2>&1
        docker info --format '{{.Driver}}'
        tar -c -C / bin lib lib64 usr/bin usr/lib usr/lib64 | docker import - tiny >/dev/null
        docker run --rm --network host tiny uname -n
        docker run --rm -m 64m tiny echo limited
    """
    host = local_hosts.find(NAME)[NAME][0]
    assert run(host, settings, script, timeout=180).splitlines() == ["overlay2", host.name, "limited"]
