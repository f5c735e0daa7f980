"""Hosts for tests, and a look into them that does not go through `cms cluster`.

`start_hosts` makes hosts like those that somebody else started: containers like the local hosts, of which `cms cluster`
knows nothing. `prepare_local_cluster` is for a cluster whose local hosts `cms cluster create` makes itself.
"""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cloudmesh.cluster.core import archive
from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local import container_config, containers, local_hosts
from cloudmesh.cluster.hosts.local.host_image import host_image
from cloudmesh.cluster.ssh.connect import connect
from support import nft
from support.cms import USER, Operator, Outcome, Running
from support.waiting import wait_until

LABEL = "cloudmesh.test"
MARKER = "/etc/cloudmesh/cluster/marker.json"  # says on a host which cluster it belongs to
# The password of USER on hosts of this test run; runs beside it have another.
PASSWORD = f"s3cr%t-p4ss word {os.getpid()}"
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


@dataclass(frozen=True)
class ContainerHost:
    """A host that is a container, and so can be looked into without SSH.

    Attributes:
        container: the Docker SDK's object.
        port: where its sshd is published at 127.0.0.1; 0 for local hosts, which `cms cluster` reaches by their names.
        address: on the network that it was started with; empty for local hosts.
    """

    container: Any
    port: int = 0
    address: str = ""

    @property
    def name(self) -> str:
        """The container's name, which is also the host's."""
        return str(self.container.name)

    @property
    def where(self) -> str:
        """The host as an operator writes it in a command."""
        return f"127.0.0.1:{self.port}"

    def run(self, script: str, user: str = "root", env: Mapping[str, str] | None = None) -> str:
        """Return the output of a shell script that runs on the host, not by SSH; AssertionError: the script fails."""
        status, out, err = execute(self.container, script, user, env)
        assert status == 0, f"{self.name}: {script!r} ended with {status}: {err}{out}"
        return out.strip()

    def succeeds(self, script: str, user: str = "root", env: Mapping[str, str] | None = None) -> bool:
        """Return whether a shell script ends with 0 on the host."""
        return execute(self.container, script, user, env)[0] == 0

    def read_nftables(self) -> str:
        """Return the kernel's nftables, as `nft` lists them."""
        return nft.read_ruleset(self.name, {LABEL: self.container.labels[LABEL]})

    def read_cluster_id(self) -> str:
        """Return the id of the cluster that the host's marker names; empty if there is no marker."""
        text = self.run(f"cat {MARKER} 2>/dev/null || true")
        return json.loads(text)["id"] if text else ""

    def list_packages(self) -> str:
        """Return a line for each package that the host has, configured or not."""
        return self.run("dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'")

    def is_installing_packages(self) -> bool:
        """Return whether dpkg is in the middle of unpacking or configuring packages."""
        return self.succeeds("dpkg-query -W -f '${db:Status-Abbrev}\\n' | grep -q '^i[HUF]'")

    def allow_sudo(self) -> None:
        """Let `ops` use sudo without a password."""
        self.run("umask 227; echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops; rm -f /etc/sudoers.d/asks")

    def ask_for_sudo(self) -> None:
        """Let sudo ask `ops` for PASSWORD."""
        self.run("umask 227; echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/asks; rm -f /etc/sudoers.d/ops")


@dataclass(frozen=True)
class HostGroup:
    """Hosts that share a network, and the key that USER logs in with.

    Attributes:
        key: private key file.
        network: the Docker SDK's object.
        plan: how they were made.
    """

    hosts: tuple[ContainerHost, ...]
    key: Path
    network: Any
    plan: containers.NewHostPlan

    @property
    def where(self) -> list[str]:
        """The hosts as an operator writes them in a command."""
        return [host.where for host in self.hosts]

    def start(self, host: ContainerHost) -> None:
        """Let a host that was stopped boot again; it is the same machine, at the same port and address."""
        host.container.start()
        _wait_until_booted(Host("127.0.0.1", USER, host.port, str(self.key)))

    def replace(self, host: ContainerHost) -> ContainerHost:
        """Return a new machine in the place of a host: at its port and address, with the host keys of its sshd."""
        stream, _ = host.container.get_archive("/etc/ssh")
        ssh_config, image, name = b"".join(stream), host.container.attrs["Image"], host.name
        client = host.container.client
        host.container.remove(force=True, v=True)
        for what in container_config.VOLUMES:
            client.volumes.get(container_config.volume_of(name, what)).remove()
        return _start_host(client, name, self.plan, image, sudo_asks=False, port=host.port, ssh_config=ssh_config)


@dataclass
class HostCluster:
    """A cluster of hosts that were started by hand, the first of which is its server.

    Attributes:
        provider: its kind.
        name: of the cluster.
        group: the hosts; not all of them need be in it.
        operator: who makes it.
    """

    SECONDS: ClassVar[float] = 400  # that a command may take

    provider: str
    name: str
    group: HostGroup
    operator: Operator

    @property
    def server(self) -> ContainerHost:
        """The host that is the server."""
        return self.group.hosts[0]

    @property
    def worker(self) -> ContainerHost:
        """The second host."""
        return self.group.hosts[1]

    def cms(self, verb: str, *words: str, seconds: float | None = None) -> Outcome:
        """Run a command on the cluster to its end, which may take `SECONDS`, or other `seconds`."""
        return self.operator.cms(verb, "-n", self.name, *words, seconds=seconds or self.SECONDS)

    def read_statuses(self) -> dict[str, str]:
        """Return what the engine says of each host."""
        return {node["name"]: node["status"] for node in self.cms("info", "--output=json").json()["nodes"]}


@dataclass(frozen=True)
class LocalCluster:
    """A cluster of local hosts, and the operator who makes it.

    Attributes:
        name: of the cluster.
        nodes: how many hosts `create` makes.
        client: the Docker SDK's.
    """

    name: str
    nodes: int
    operator: Operator
    client: Any

    @property
    def _words(self) -> tuple[str, ...]:
        """The command that makes the cluster."""
        return ("create", "-n", self.name, f"--nodes={self.nodes}")

    def boot_hosts(self) -> None:
        """Make the hosts, and no cluster of them yet."""
        local_hosts.create(self.name, self.nodes, report=Silence())

    @contextmanager
    def start_create(self, *more: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
        """Yield the running `create` with `more` arguments; it is killed if it outlives the block."""
        with self.operator.start(*self._words, *more, env=env) as running:
            yield running

    def create(self, *more: str, seconds: float | None = None, env: Mapping[str, str] | None = None) -> Outcome:
        """Run `create` with `more` arguments to its end; see `Operator.cms`."""
        return self.operator.cms(*self._words, *more, seconds=seconds, env=env)

    def read_info(self) -> dict[str, Any]:
        """Return what `info` shows of the cluster."""
        info: dict[str, Any] = self.operator.cms("info", "-n", self.name, "--output=json").json()
        return info

    def host(self, index: int) -> ContainerHost:
        """Return a host; the first has index 1."""
        return ContainerHost(self.client.containers.get(container_config.name_of(self.name, index)))

    def list_hosts(self) -> list[ContainerHost]:
        """Return all hosts that were made so far."""
        names = containers.list_containers(self.client, self.name)
        return [ContainerHost(self.client.containers.get(name)) for name in names]

    def read_ids(self) -> set[str]:
        """Return the cluster ids in the markers of the hosts; those without a marker have none."""
        return {cluster_id for host in self.list_hosts() if (cluster_id := host.read_cluster_id())}

    def check_whole(self) -> None:
        """Do nothing; AssertionError: the cluster is not healthy, lacks hosts, or its markers have several ids."""
        info = self.read_info()
        assert info["healthy"], info
        assert len(info["nodes"]) == self.nodes, info
        assert self.read_ids() == {info["id"]}


@contextmanager
def prepare_local_cluster(purpose: str, nodes: int, home: Path) -> Iterator[LocalCluster]:
    """Yield a cluster that is not made yet; its hosts are removed afterwards.

    Args:
        purpose: see `make_unique_name`.
        nodes: how many hosts it gets.
        home: the operator's home directory.
    """
    client, name = docker_client.connect(), make_unique_name(purpose)
    try:
        yield LocalCluster(name, nodes, Operator(home, timeout=180), client)
    finally:
        local_hosts.destroy(name)
        client.close()


def make_unique_name(purpose: str) -> str:
    """Return a name for hosts or a cluster that no other test run has; `tools/clear_tests.py` removes what has it."""
    return f"t-{purpose}-{os.getpid()}"


def execute(
    container: Any, script: str, user: str = "root", env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr of a shell script in a container.

    The SDK's own exec_run loses what a quick command says before the connection is handed over to it.
    """
    api = container.client.api
    execution = api.exec_create(container.id, ["sh", "-c", script], user=user, environment=env)["Id"]
    start = f"{api.base_url}/v{api.api_version}/exec/{execution}/start"
    stream = api.post(start, json={"Detach": False, "Tty": False}, timeout=_SCRIPT_SECONDS).content
    parts: dict[int, bytes] = {1: b"", 2: b""}
    while stream:
        kind, size = struct.unpack(">BxxxL", stream[:8])
        parts[kind] += stream[8 : 8 + size]
        stream = stream[8 + size :]
    state = wait_until(
        lambda: api.exec_inspect(execution), _BOOT_SECONDS, pause=0.01, satisfies=lambda state: not state["Running"]
    )
    return state["ExitCode"], parts[1].decode(errors="replace"), parts[2].decode(errors="replace")


@contextmanager
def start_hosts(
    name: str, folder: Path, releases: Sequence[str] = ("13",), *, sudo_asks: bool = False
) -> Iterator[HostGroup]:
    """Yield running hosts, one for each Debian release; everything of them is gone afterwards.

    Args:
        name: see `make_unique_name`.
        folder: where the private key is put.
        releases: "12" or "13" for each host.
        sudo_asks: whether sudo wants the password.
    """
    client = docker_client.connect()
    try:
        key = folder / "key"
        with ThreadPoolExecutor() as pool:
            images = {release: host_image(client, release, report=Silence()) for release in sorted(set(releases))}
            plan = containers.plan_new_hosts(client, name, next(iter(images.values())), "")
            key.touch(0o600)
            key.write_text(plan.private_key)
            starting = [
                pool.submit(
                    _start_host, client, container_config.name_of(name, index), plan, images[release], sudo_asks
                )
                for index, release in enumerate(releases, 1)
            ]
            hosts = tuple(future.result() for future in starting)
        yield HostGroup(hosts, key, client.networks.get(plan.network), plan)
    finally:
        _clear(client, name)
        client.close()


def _start_host(
    client: Any,
    name: str,
    plan: containers.NewHostPlan,
    image: str,
    sudo_asks: bool,
    port: int = 0,
    ssh_config: bytes = b"",
) -> ContainerHost:
    port = port or _find_free_port()
    address = container_config.address_of(plan.subnet, container_config.index_of(name))
    config = container_config.container_config(
        name, image, plan.docker.capabilities, modules=Path("/lib/modules").is_dir()
    )
    config["Labels"] = {LABEL: plan.cluster}
    config["HostConfig"]["PortBindings"]["22/tcp"][0]["HostPort"] = str(port)
    config["NetworkingConfig"] = {"EndpointsConfig": {plan.network: {"IPAMConfig": {"IPv4Address": address}}}}
    container = client.api.create_container_from_config(config, name)["Id"]
    public_key = _derive_public_key(plan.private_key)
    files = {
        "/root/.ssh/": ("", 0o700),
        "/root/.ssh/authorized_keys": (public_key, 0o600),
        "/etc/cloudmesh-local/": ("", 0o755),
        "/etc/cloudmesh-local/resolv.conf": (plan.docker.resolv_conf, 0o644),
    }
    client.api.put_archive(container, "/", archive.pack(files))
    if ssh_config:
        client.api.put_archive(container, "/etc", ssh_config)
    host = ContainerHost(client.containers.get(name), port, address)
    host.container.start()
    _wait_until_booted(Host(name, "root", port, address="127.0.0.1", private_key=plan.private_key))
    host.run(_USER_SETUP, env={"PASSWORD": PASSWORD, "PUBLIC_KEY": public_key})
    if sudo_asks:
        host.ask_for_sudo()
    else:
        host.allow_sudo()
    return host


def _wait_until_booted(host: Host) -> None:
    """Wait until systemd has started everything.

    By SSH, since a process that Docker puts into the container would be in systemd's way.

    Raises:
        HostError: the host did not answer in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = SshSettings(known_hosts=Path(folder, "known_hosts"), accept_new_hostkeys=True)

        def try_to_connect() -> HostError | None:
            try:
                with connect(host, settings) as connection:
                    connection.run("systemctl is-system-running --wait || true", timeout=_BOOT_SECONDS)
            except HostError as error:
                return error
            return None

        error = wait_until(try_to_connect, _BOOT_SECONDS, pause=0.1, satisfies=lambda error: error is None)
        if error is not None:
            raise error


def _derive_public_key(private_key: str) -> str:
    """Return the public key as a line for authorized_keys."""
    import paramiko

    key = paramiko.Ed25519Key.from_private_key(io.StringIO(private_key))
    return f"{key.get_name()} {key.get_base64()}"


def _find_free_port() -> int:
    """Return a port that stays the host's when it is started again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clear(client: Any, name: str) -> None:
    """Remove the hosts that have a name, with their volumes and network."""
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={name}"}, ignore_removed=True):
        container.remove(force=True, v=True)
    # volumes and network have the label of local hosts, whose making is shared
    for kind in containers.removals(client, {"label": f"{container_config.LABEL}={name}"}):
        for remove in kind:
            containers.remove_if_present(remove)
