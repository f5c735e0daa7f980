"""Local hosts without a Docker daemon: what can be tested by their configuration alone."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from importlib import resources

import pytest

from cloudmesh.cluster.core import archive
from cloudmesh.cluster.core.errors import ImageError, UsageError
from cloudmesh.cluster.docker_daemon import debian_base, docker_client
from cloudmesh.cluster.hosts.local import container_config, host_image, local_hosts


class Silence:
    def step(self, where: str, what: str) -> None: ...

    def done(self, where: str, what: str = "") -> None: ...

    def failed(self, where: str, why: str) -> None: ...

    def note(self, text: str) -> None: ...


def test_capabilities_that_the_engine_lacks_are_not_asked_for() -> None:
    given = container_config.parse_probe("CapBnd:\t000001fffeffffff\nnameserver 192.0.2.1\n")
    assert "SYS_RESOURCE" not in given.capabilities
    assert {"SYS_ADMIN", "NET_ADMIN", "CHOWN", "AUDIT_READ"} <= set(given.capabilities)
    assert given.resolv_conf == "nameserver 192.0.2.1\n"


def test_capabilities_that_old_docker_engines_do_not_know_are_not_asked_for() -> None:
    given = container_config.parse_probe("CapBnd:\t000001ffffffffff\n")
    assert len(given.capabilities) == 38
    assert not {"BPF", "PERFMON", "CHECKPOINT_RESTORE"} & set(given.capabilities)


def test_a_probe_that_says_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="probe"):
        container_config.parse_probe("")


def test_each_host_has_a_fixed_address_behind_the_gateway() -> None:
    assert container_config.address_of("172.18.0.0/16", 1) == "172.18.0.2"
    assert container_config.address_of("172.18.0.0/16", 300) == "172.18.1.45"
    assert container_config.address_of("192.168.0.0/28", 13) == "192.168.0.14"
    with pytest.raises(ValueError, match="no room"):
        container_config.address_of("192.168.0.0/28", 14)


def test_the_index_is_read_from_the_last_part_of_the_name() -> None:
    assert container_config.index_of(container_config.name_of("a-7", 12)) == 12
    assert container_config.index_of("other") == 0


def test_sshd_is_published_on_loopback_only() -> None:
    config = container_config.container_config("x-1", "image", ("CHOWN",), modules=False)
    assert config["HostConfig"]["PortBindings"]["22/tcp"][0]["HostIp"] == "127.0.0.1"


def test_packed_files_have_their_modes() -> None:
    packed = archive.pack({"/root/.ssh/": ("", 0o700), "/root/.ssh/key": ("secret", 0o600)})
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert [(member.name, member.mode, member.isdir()) for member in tar] == [
            ("root/.ssh", 0o700, True),
            ("root/.ssh/key", 0o600, False),
        ]
    assert container_config.first_file(archive.pack({"/key": ("secret", 0o600)})) == "secret"


def test_the_build_context_is_the_same_each_time_and_without_the_engine_setup() -> None:
    context = host_image.build_context()
    assert context == host_image.build_context()
    with tarfile.open(fileobj=io.BytesIO(context)) as tar:
        modes = {member.name: member.mode for member in tar}
    assert modes["entrypoint.sh"] == 0o755
    assert "Dockerfile" in modes
    assert "docker-engine.sh" not in modes


def test_no_local_hosts_are_found_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    start = time.monotonic()
    assert local_hosts.find() == {}
    assert time.monotonic() - start < 3


def test_an_engine_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(ImageError, match=r"no Docker engine answers at tcp://127\.0\.0\.1:1") as caught:
        docker_client.connect()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("nodes", [0, -1, 65])
def test_an_impossible_number_of_hosts_is_refused(nodes: int) -> None:
    with pytest.raises(UsageError, match="local hosts"):
        local_hosts.create("x", nodes, report=Silence())


def test_bad_cluster_names_are_refused() -> None:
    for act in (lambda: local_hosts.create("A_b", 1, report=Silence()), lambda: local_hosts.destroy("a/b")):
        with pytest.raises(UsageError, match="cluster name"):
            act()


def test_an_unknown_debian_release_is_refused() -> None:
    with pytest.raises(UsageError, match="'11'"):
        debian_base.base_image("11", report=Silence())


@pytest.mark.skipif(os.geteuid() != 0, reason="changes user")
def test_debootstrap_without_root_says_what_to_do() -> None:
    script = resources.files("cloudmesh.images") / "debian" / "debootstrap.sh"
    done = subprocess.run(
        ["sh", "-s", "trixie", "/nowhere.tar"], input=script.read_bytes(), capture_output=True, user=65534, check=False
    )
    assert done.returncode == 1
    assert done.stdout.decode().startswith("::fail making a Debian base image needs root")
