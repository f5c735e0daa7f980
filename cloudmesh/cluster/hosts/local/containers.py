"""Lists, creates, boots and removes the containers of local hosts. The caller translates the Docker SDK's errors."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core import archive
from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import HostError, ImageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.hosts.local import container_config
from cloudmesh.cluster.ssh.connect import connect
from cloudmesh.cluster.ssh.host_script import load

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report

_BOOT_SECONDS = 60
# A port on which nothing listens, for stopped hosts: with port 22, the operator's own sshd would be taken for the host.
_NO_PORT = 1


def list_containers(client: Any, cluster: str) -> dict[str, dict[str, Any]]:
    """Return the Docker daemon's summary of every local host by name, ordered by cluster and number.

    Args:
        client: a Docker client.
        cluster: only the hosts of this cluster; empty: of all clusters.
    """
    labels = [
        f"{container_config.LABEL}={cluster}" if cluster else container_config.LABEL,
        container_config.HOST_KEY_LABEL,
    ]
    summaries = client.api.containers(all=True, filters={"label": labels})
    by_name = {_parse_name(summary): summary for summary in summaries if summary["Names"]}
    return dict(
        sorted(
            by_name.items(),
            key=lambda item: (item[1]["Labels"][container_config.LABEL], container_config.index_of(item[0])),
        )
    )


def complete_containers(client: Any, cluster: str) -> dict[str, dict[str, Any]]:
    """Return the summaries of a cluster's complete hosts, and remove what an interrupted creation has left."""
    summaries = list_containers(client, cluster)
    for name, summary in list(summaries.items()):
        if summary["State"] in ("created", "dead", "removing"):
            remove_if_present(partial(client.api.remove_container, summary["Id"], force=True, v=True))
            del summaries[name]
    return summaries


def hosts_of(client: Any, summaries: dict[str, dict[str, Any]]) -> dict[str, tuple[Host, ...]]:
    """Return the hosts of container summaries, by cluster. The operator's key is read once per cluster."""
    import docker.errors

    by_cluster: dict[str, list[Host]] = {}
    keys: dict[str, str] = {}
    for summary in summaries.values():
        cluster = summary["Labels"][container_config.LABEL]
        if cluster not in keys:
            # A cluster that is being removed at the same time must not hide the others.
            try:
                keys[cluster] = operator_key(client, [summary])
            except docker.errors.APIError:
                keys[cluster] = ""
        by_cluster.setdefault(cluster, []).append(_build_host(summary, keys[cluster]))
    return {cluster: tuple(hosts) for cluster, hosts in by_cluster.items()}


def operator_key(client: Any, summaries: Iterable[dict[str, Any]]) -> str:
    """Return the operator's private key from the first of these containers that has it; empty if none has."""
    keys = (read_file(client, summary["Id"], container_config.OPERATOR_KEY) for summary in summaries)
    return next(filter(None, keys), "")


def _build_host(summary: dict[str, Any], private_key: str) -> Host:
    """Return the host for which a container stands."""
    return Host(
        name=_parse_name(summary),
        user="root",
        address="127.0.0.1",
        port=_parse_port(summary),
        private_key=private_key,
        host_key=summary["Labels"][container_config.HOST_KEY_LABEL],
    )


def _parse_name(summary: dict[str, Any]) -> str:
    """Return a container's name."""
    return str(summary["Names"][0]).lstrip("/")


def _parse_port(summary: dict[str, Any]) -> int:
    """Return the port of this machine at which the container's sshd is published; `_NO_PORT` if there is none."""
    ports = [port.get("PublicPort", 0) for port in summary.get("Ports") or () if port.get("PrivatePort") == 22]
    return next((int(port) for port in ports if port), _NO_PORT)


def read_file(client: Any, container: str, path: str) -> str:
    """Return the text of a file in a container; empty if there is no such file."""
    import docker.errors

    try:
        chunks, _ = client.api.get_archive(container, path)
        return container_config.first_file(b"".join(chunks))
    except docker.errors.NotFound:
        return ""


def remove_if_present(remove: Callable[[], object]) -> None:
    """Call `remove`, and accept that somebody else has removed the same thing or is removing it."""
    import docker.errors

    def is_passing(error: BaseException) -> bool:
        """Whether it, or what uses it, is being removed, or a process that ends still writes there: for a moment."""
        if not isinstance(error, docker.errors.APIError):
            return False
        return error.status_code == 409 or "failed to remove root filesystem" in str(error)

    with suppress(docker.errors.NotFound):
        retry(remove, is_passing, attempts=5, pause_seconds=0.5)


def remove_stopped(client: Any, name: str) -> bool:
    """Remove a local host that does not run, with its volumes; return whether nothing is left of it."""
    import docker.errors

    with suppress(docker.errors.NotFound):
        container = client.containers.get(name)
        if container.status == "running":
            return False
        remove_if_present(partial(container.remove, force=True, v=True))
    for what in container_config.VOLUMES:
        remove_if_present(partial(client.api.remove_volume, container_config.volume_of(name, what), force=True))
    return True


def boot(client: Any, name: str, private_key: str, report: Report) -> None:
    """Start a local host if it does not run, and wait until systemd has booted and sshd answers.

    The script that waits runs over SSH: a process that Docker puts into the container would disturb systemd.

    Raises:
        HostError: the host did not boot in time, or its sshd cannot be reached from this machine.
    """
    import docker.errors

    report.step(name, "boot")
    container = client.containers.get(name)
    try:
        if container.status == "paused":
            container.unpause()
        container.start()
        _wait_until_booted(client, container, private_key)
    except (docker.errors.APIError, HostError) as error:
        cause = error.cause if isinstance(error, HostError) else str(error.explanation)
        explanation = " | ".join([f"did not boot: {cause}", *_read_last_lines(container)])
        report.failed(name, explanation)
        raise HostError(name, explanation) from error
    report.done(name)


def _wait_until_booted(client: Any, container: Any, private_key: str) -> None:
    """Wait until the host in a container has booted.

    Raises:
        HostError: the container has stopped, or the host did not boot in time.
    """
    deadline = time.monotonic() + _BOOT_SECONDS
    summaries = client.api.containers(filters={"id": container.id})
    host = next((_build_host(summary, private_key) for summary in summaries), Host(container.name, port=_NO_PORT))
    while not _has_sshd_at(host.port):
        container.reload()
        if container.status != "running" or time.monotonic() > deadline:
            raise HostError(host.name, f"no sshd at 127.0.0.1:{host.port}, the container is {container.status}")
        time.sleep(0.05)
    seconds_left = max(1, int(deadline - time.monotonic()))
    with connect(host, SshSettings(known_hosts=Path(os.devnull))) as connection:
        connection.run(load("local/booted.sh"), str(seconds_left), timeout=seconds_left + 10)


def removals(client: Any, label: dict[str, str]) -> Iterator[list[Callable[[], object]]]:
    """Yield lists of functions that remove everything with a label: first containers, then volumes, then networks."""
    containers = client.containers.list(all=True, filters=label, ignore_removed=True)
    yield [partial(container.remove, force=True, v=True) for container in containers]
    yield [partial(volume.remove, force=True) for volume in client.volumes.list(filters=label)]
    yield [network.remove for network in client.networks.list(filters=label)]


def _has_sshd_at(port: int) -> bool:
    """Whether an sshd answers at a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _read_last_lines(container: Any) -> list[str]:
    """Return the last lines of the journal, or of the output, of a host that did not boot."""
    container.reload()
    if container.status == "running":
        output = container.exec_run(["journalctl", "--no-pager", "-q", "-o", "cat", "-p", "warning", "-n", "5"]).output
    else:
        output = container.logs(tail=5)
    return [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]


_PROBE_SECONDS = 60
_SUBNET_LABEL = "cloudmesh.subnet"


@dataclass(frozen=True)
class NewHostPlan:
    """What all new local hosts of a cluster have in common.

    Attributes:
        cluster: the cluster's name.
        image: tag of the hosts' image.
        network: name of the cluster's Docker network.
        subnet: address range of that network, as CIDR.
        docker: what the Docker daemon's machine gives to containers.
        private_key: the operator's private key, in OpenSSH's format.
    """

    cluster: str
    image: str
    network: str
    subnet: str
    docker: container_config.DockerCapabilities
    private_key: str


def plan_new_hosts(client: Any, cluster: str, image: str, private_key: str) -> NewHostPlan:
    """Create the network that new hosts need, and the operator's key if `private_key` is empty; return the plan."""
    network, subnet = _find_or_create_network(client, cluster)
    capabilities = _probe_capabilities(client, cluster, image)
    return NewHostPlan(cluster, image, network, subnet, capabilities, private_key or _generate_key()[0])


def make_host(client: Any, name: str, plan: NewHostPlan) -> None:
    """Create a local host with its SSH keys, without starting it."""
    api = client.api
    host_key, host_public = _generate_key()
    config = container_config.container_config(
        name, plan.image, plan.docker.capabilities, modules=Path("/lib/modules").is_dir()
    )
    config["Labels"] = {container_config.LABEL: plan.cluster, container_config.HOST_KEY_LABEL: host_public}
    address = container_config.address_of(plan.subnet, container_config.index_of(name))
    config["NetworkingConfig"] = {"EndpointsConfig": {plan.network: {"IPAMConfig": {"IPv4Address": address}}}}
    container = api.create_container_from_config(config, name)["Id"]
    files = {
        "/root/.ssh/": ("", 0o700),
        "/root/.ssh/authorized_keys": (f"{_derive_public_key(plan.private_key)} cloudmesh-operator\n", 0o600),
        container_config.OPERATOR_KEY: (plan.private_key, 0o600),
        "/etc/ssh/ssh_host_ed25519_key": (host_key, 0o600),
        "/etc/ssh/ssh_host_ed25519_key.pub": (f"{host_public}\n", 0o644),
        "/etc/cloudmesh-local/": ("", 0o755),
        "/etc/cloudmesh-local/resolv.conf": (plan.docker.resolv_conf, 0o644),
    }
    api.put_archive(container, "/", archive.pack(files))


def _find_or_create_network(client: Any, cluster: str) -> tuple[str, str]:
    """Return the name and subnet of the cluster's network; create it if it does not exist.

    Docker chooses a free subnet for a first network, which is then created again with this subnet given explicitly:
    Docker allows fixed addresses only in networks whose subnet was given.
    """
    name = f"cloudmesh-{cluster}"
    for network in client.networks.list(filters={"label": f"{container_config.LABEL}={cluster}"}):
        subnet = network.attrs["Labels"].get(_SUBNET_LABEL)
        if subnet:
            return network.name, str(subnet)
        network.remove()
    labels = {container_config.LABEL: cluster}
    first = client.networks.create(name, labels=labels)
    first.reload()
    pool = {key: value for key, value in first.attrs["IPAM"]["Config"][0].items() if key in ("Subnet", "Gateway")}
    first.remove()
    labels[_SUBNET_LABEL] = pool["Subnet"]
    client.networks.create(name, labels=labels, ipam={"Driver": "default", "Config": [pool]})
    return name, str(pool["Subnet"])


def _probe_capabilities(client: Any, cluster: str, image: str) -> container_config.DockerCapabilities:
    """Find out, by a container on Docker's default network, what the Docker daemon's machine gives to containers.

    Raises:
        ImageError: the container's answer cannot be understood.
    """
    probe = client.containers.create(
        image,
        [],
        entrypoint=container_config.CAPABILITY_PROBE,
        pid_mode="host",
        labels={container_config.LABEL: cluster},
        network_mode="bridge",
    )
    try:
        probe.start()
        probe.wait(timeout=_PROBE_SECONDS)
        return container_config.parse_probe(read_file(client, probe.id, container_config.CAPABILITY_ANSWER))
    except ValueError as error:
        raise ImageError(f"asking the Docker engine for its capabilities: {error}") from error
    finally:
        remove_if_present(partial(probe.remove, force=True, v=True))


def _generate_key() -> tuple[str, str]:
    """Return a new ed25519 key pair in OpenSSH's format: the private and the public key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private.decode(), _derive_public_key(private.decode())


def _derive_public_key(private_key: str) -> str:
    """Return the public key, "TYPE BASE64", of a private key in OpenSSH's format."""
    from cryptography.hazmat.primitives import serialization

    public = serialization.load_ssh_private_key(private_key.encode(), None).public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
