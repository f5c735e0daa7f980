"""Hosts that somebody else started: containers like the local hosts, of which `cms cluster` knows nothing."""

from __future__ import annotations

import io
import os
import socket
import struct
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local import container_config, containers
from cloudmesh.cluster.hosts.local.host_image import host_image
from cloudmesh.cluster.ssh.connect import connect
from support import nft

LABEL = "cloudmesh.test"
# Of a user that lives as long as the test; tests that run beside it have another password.
USER, PASSWORD = "ops", f"s3cr%t-p4ss word {os.getpid()}"
_BOOT_SECONDS, _SCRIPT_SECONDS = 60, 300
_USER_SETUP = """
set -eu
rm -r /root/.ssh
useradd --create-home --shell /bin/sh ops
printf 'ops:%s\n' "$PASSWORD" | chpasswd
install -d -m 700 -o ops -g ops /home/ops/.ssh
printf '%s\n' "$PUBLIC_KEY" >/home/ops/.ssh/authorized_keys
chown ops:ops /home/ops/.ssh/authorized_keys
"""


class Silent:
    """A report that nobody reads."""

    def step(self, where: str, what: str) -> None: ...
    def done(self, where: str, what: str = "") -> None: ...
    def failed(self, where: str, why: str) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class HandMade:
    """One such host; its user `ops` may use sudo.

    Attributes:
        container: the Docker SDK's.
        port: of its sshd, at 127.0.0.1.
        address: on the network that it was made with.
    """

    container: Any
    port: int
    address: str

    @property
    def name(self) -> str:
        """What it calls itself."""
        return str(self.container.name)

    @property
    def where(self) -> str:
        """How the operator names it."""
        return f"127.0.0.1:{self.port}"

    def run(self, script: str, user: str = "root", env: Mapping[str, str] | None = None) -> str:
        """Return the output of a shell script that runs on the host, not by SSH; AssertionError where it fails."""
        status, out, err = executed(self.container, script, user, env)
        assert status == 0, f"{self.name}: {script!r} ended with {status}: {err}{out}"
        return out.strip()

    def succeeds(self, script: str, user: str = "root") -> bool:
        """Return whether a shell script ends well on the host."""
        return executed(self.container, script, user)[0] == 0

    def nftables(self) -> str:
        """Return the kernel's nftables, as `nft` tells them."""
        return nft.ruleset(self.name, {LABEL: self.container.labels[LABEL]}, Silent())

    def allow_sudo(self) -> None:
        """Let `ops` use sudo without a password."""
        self.run("umask 227; echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops; rm -f /etc/sudoers.d/asks")


@dataclass(frozen=True)
class Group:
    """Hosts that share a network, and the key that opens them."""

    hosts: tuple[HandMade, ...]
    key: Path
    network: Any

    @property
    def where(self) -> list[str]:
        """How the operator names all of them."""
        return [host.where for host in self.hosts]

    def start(self, host: HandMade) -> None:
        """Let a host that was stopped boot again; it is the same machine, at the same place."""
        host.container.start()
        _wait_booted(Host("127.0.0.1", USER, host.port, str(self.key)))


def group_name(purpose: str) -> str:
    """Return a name that no other test run has, and that `tools/clear_tests.py` knows as a test's."""
    return f"t-{purpose}-{os.getpid()}"


def executed(
    container: Any, script: str, user: str = "root", env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr of a script in a container.

    The SDK's own exec_run loses what a quick command says before the connection is handed over to it.
    """
    api = container.client.api
    made = api.exec_create(container.id, ["sh", "-c", script], user=user, environment=env)["Id"]
    start = f"{api.base_url}/v{api.api_version}/exec/{made}/start"
    stream = api.post(start, json={"Detach": False, "Tty": False}, timeout=_SCRIPT_SECONDS).content
    parts: dict[int, bytes] = {1: b"", 2: b""}
    while stream:
        kind, size = struct.unpack(">BxxxL", stream[:8])
        parts[kind] += stream[8 : 8 + size]
        stream = stream[8 + size :]
    end = time.monotonic() + _BOOT_SECONDS
    while (told := api.exec_inspect(made))["Running"] and time.monotonic() < end:
        time.sleep(0.01)
    return told["ExitCode"], parts[1].decode(errors="replace"), parts[2].decode(errors="replace")


@contextmanager
def hand_made(
    name: str, folder: Path, releases: Sequence[str] = ("13",), *, sudo_asks: bool = False
) -> Iterator[Group]:
    """Yield running hosts, one for each Debian release; everything of them is gone afterwards.

    Args:
        name: see `group_name`.
        folder: where the private key is put.
        releases: "12" or "13" for each host.
        sudo_asks: whether sudo wants the password.
    """
    client = docker_client.connect()
    try:
        key = folder / "key"
        with ThreadPoolExecutor() as pool:
            images = {release: host_image(client, release, report=Silent()) for release in sorted(set(releases))}
            plan = containers.plan_new_hosts(client, name, next(iter(images.values())), "")
            key.touch(0o600)
            key.write_text(plan.private_key)
            jobs = [
                pool.submit(_made, client, container_config.name_of(name, index), plan, images[release], sudo_asks)
                for index, release in enumerate(releases, 1)
            ]
            hosts = tuple(job.result() for job in jobs)
        yield Group(hosts, key, client.networks.get(plan.network))
    finally:
        _clear(client, name)
        client.close()


def _made(client: Any, name: str, plan: containers.NewHostPlan, image: str, sudo_asks: bool) -> HandMade:
    port, address = _free_port(), container_config.address_of(plan.subnet, container_config.index_of(name))
    config = container_config.container_config(
        name, image, plan.given.capabilities, modules=Path("/lib/modules").is_dir()
    )
    config["Labels"] = {LABEL: plan.cluster}
    config["HostConfig"]["PortBindings"]["22/tcp"][0]["HostPort"] = str(port)
    config["NetworkingConfig"] = {"EndpointsConfig": {plan.network: {"IPAMConfig": {"IPv4Address": address}}}}
    container = client.api.create_container_from_config(config, name)["Id"]
    public = _public(plan.private_key)
    files = {
        "/root/.ssh/": ("", 0o700),
        "/root/.ssh/authorized_keys": (public, 0o600),
        "/etc/cloudmesh-local/": ("", 0o755),
        "/etc/cloudmesh-local/resolv.conf": (plan.given.resolv_conf, 0o644),
    }
    client.api.put_archive(container, "/", container_config.pack(files))
    host = HandMade(client.containers.get(name), port, address)
    host.container.start()
    _wait_booted(Host(name, "root", port, address="127.0.0.1", private_key=plan.private_key))
    host.run(_USER_SETUP, env={"PASSWORD": PASSWORD, "PUBLIC_KEY": public})
    if sudo_asks:
        host.run("umask 227; echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/asks")
    else:
        host.allow_sudo()
    return host


def _wait_booted(reached: Host) -> None:
    """Wait until systemd has started everything; by SSH, since a process put in by Docker would be in its way."""
    end = time.monotonic() + _BOOT_SECONDS
    with tempfile.TemporaryDirectory() as folder:
        settings = SshSettings(known_hosts=Path(folder, "known_hosts"), accept_new_hostkeys=True)
        while True:
            try:
                with connect(reached, settings) as connection:
                    connection.run("systemctl is-system-running --wait || true", timeout=_BOOT_SECONDS)
                    return
            except HostError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def _public(private_key: str) -> str:
    import paramiko

    key = paramiko.Ed25519Key.from_private_key(io.StringIO(private_key))
    return f"{key.get_name()} {key.get_base64()}"


def _free_port() -> int:
    """Return a port that stays the host's when it is started again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clear(client: Any, name: str) -> None:
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={name}"}, ignore_removed=True):
        container.remove(force=True, v=True)
    # volumes and network have the label of local hosts, whose making is shared
    for kind in containers.removals(client, {"label": f"{container_config.LABEL}={name}"}):
        for remove in kind:
            containers.remove_if_present(remove)
