"""The containers that stand for machines: listed, made, booted, removed. The caller maps the Docker SDK's errors."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import HostError, ImageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.hosts.local import container_config
from cloudmesh.cluster.ssh.connect import connect
from cloudmesh.cluster.ssh.host_script import load

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report


_BOOT_SECONDS = 60
# where nothing listens: a stopped host must be found unreachable, not be taken for the operator's own sshd
_NO_PORT = 1


def list_containers(client: Any, cluster: str) -> dict[str, dict[str, Any]]:
    """Return what the engine says of each local host, by name, in the order of their numbers."""
    labels = [
        f"{container_config.LABEL}={cluster}" if cluster else container_config.LABEL,
        container_config.HOST_KEY_LABEL,
    ]
    found = client.api.containers(all=True, filters={"label": labels})
    by_name = {_name(summary): summary for summary in found if summary["Names"]}
    return dict(
        sorted(
            by_name.items(),
            key=lambda item: (item[1]["Labels"][container_config.LABEL], container_config.index_of(item[0])),
        )
    )


def complete_containers(client: Any, cluster: str) -> dict[str, dict[str, Any]]:
    """Return the hosts that were made completely; the leftovers of an interrupted create are removed."""
    found = list_containers(client, cluster)
    for name, summary in list(found.items()):
        if summary["State"] in ("created", "dead", "removing"):
            remove_if_present(partial(client.api.remove_container, summary["Id"], force=True, v=True))
            del found[name]
    return found


def hosts_of(client: Any, found: dict[str, dict[str, Any]]) -> dict[str, tuple[Host, ...]]:
    """Return the hosts by cluster. The operator's key is read once for each cluster."""
    import docker.errors

    by_cluster: dict[str, list[Host]] = {}
    keys: dict[str, str] = {}
    for summary in found.values():
        cluster = summary["Labels"][container_config.LABEL]
        if cluster not in keys:
            # A cluster that is being removed just now must not hide the others.
            try:
                keys[cluster] = operator_key(client, [summary])
            except docker.errors.APIError:
                keys[cluster] = ""
        by_cluster.setdefault(cluster, []).append(_host(summary, keys[cluster]))
    return {cluster: tuple(members) for cluster, members in by_cluster.items()}


def operator_key(client: Any, summaries: Iterable[dict[str, Any]]) -> str:
    """Return the private key that the first of these containers that has it keeps; empty if none has."""
    known = (read_file(client, summary["Id"], container_config.OPERATOR_KEY) for summary in summaries)
    return next(filter(None, known), "")


def _host(summary: dict[str, Any], private_key: str) -> Host:
    """Return the host that a container is."""
    return Host(
        name=_name(summary),
        user="root",
        address="127.0.0.1",
        port=_port(summary),
        private_key=private_key,
        host_key=summary["Labels"][container_config.HOST_KEY_LABEL],
    )


def _name(summary: dict[str, Any]) -> str:
    """Return a container's name."""
    return str(summary["Names"][0]).lstrip("/")


def _port(summary: dict[str, Any]) -> int:
    """Return where sshd is published on this machine."""
    ports = [port.get("PublicPort", 0) for port in summary.get("Ports") or () if port.get("PrivatePort") == 22]
    return next((int(port) for port in ports if port), _NO_PORT)


def read_file(client: Any, container: str, path: str) -> str:
    """Return the text of a file in a container; empty if it is not there."""
    import docker.errors

    try:
        chunks, _ = client.api.get_archive(container, path)
        return container_config.first_file(b"".join(chunks))
    except docker.errors.NotFound:
        return ""


def remove_if_present(remove: Callable[[], object]) -> None:
    """Remove something, which somebody else may have done, or may be doing, already."""
    import docker.errors

    for attempt in range(5):
        try:
            remove()
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            # being removed, or its last user is: it takes a moment
            if error.status_code != 409 or attempt == 4:
                raise
            time.sleep(0.5)
        else:
            return


def boot(client: Any, name: str, private_key: str, report: Report) -> None:
    """Start a local host where it does not run, and wait until systemd has booted and sshd answers.

    It is waited for over SSH: a process that Docker puts into the container would be in systemd's way.

    Raises:
        HostError: it did not boot in time, or its sshd cannot be reached from here.
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
        why = " | ".join(filter(None, [f"did not boot: {cause}", *_last_lines(container)]))
        report.failed(name, why)
        raise HostError(name, why) from error
    report.done(name)


def _wait_until_booted(client: Any, container: Any, private_key: str) -> None:
    """Wait for a container to be a booted host.

    Raises:
        HostError: it is not in time.
    """
    end = time.monotonic() + _BOOT_SECONDS
    found = client.api.containers(filters={"id": container.id})
    host = next((_host(summary, private_key) for summary in found), Host(container.name, port=_NO_PORT))
    while not _ssh_greets(host.port):
        container.reload()
        if container.status != "running" or time.monotonic() > end:
            raise HostError(host.name, f"no sshd at 127.0.0.1:{host.port}, the container is {container.status}")
        time.sleep(0.05)
    left = max(1, int(end - time.monotonic()))
    with connect(host, SshSettings(known_hosts=Path(os.devnull))) as connection:
        connection.run(load("local/booted.sh"), str(left), timeout=left + 10)


def removals(client: Any, label: dict[str, str]) -> Iterator[list[Callable[[], object]]]:
    """Yield what removes everything of a label, kind by kind, in an order in which each kind can go."""
    containers = client.containers.list(all=True, filters=label, ignore_removed=True)
    yield [partial(container.remove, force=True, v=True) for container in containers]
    yield [partial(volume.remove, force=True) for volume in client.volumes.list(filters=label)]
    yield [network.remove for network in client.networks.list(filters=label)]


def _ssh_greets(port: int) -> bool:
    """Whether an sshd greets at a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _last_lines(container: Any) -> list[str]:
    """Return the last that a host that did not boot has to say."""
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
    """What every new host of a cluster has in common."""

    cluster: str
    image: str
    network: str
    subnet: str
    given: container_config.DockerCapabilities
    private_key: str


def plan_new_hosts(client: Any, cluster: str, image: str, private_key: str) -> NewHostPlan:
    """Make what new hosts need: the network and, where no host of the cluster has one yet, the operator's key."""
    network, subnet = _network(client, cluster)
    given = _docker_capabilities(client, cluster, image)
    return NewHostPlan(cluster, image, network, subnet, given, private_key or _new_key()[0])


def make_host(client: Any, name: str, plan: NewHostPlan) -> None:
    """Make a local host; it is not started. Its keys are in it before it can ever run."""
    api = client.api
    host_key, host_public = _new_key()
    config = container_config.container_config(
        name, plan.image, plan.given.capabilities, modules=Path("/lib/modules").is_dir()
    )
    config["Labels"] = {container_config.LABEL: plan.cluster, container_config.HOST_KEY_LABEL: host_public}
    address = container_config.address_of(plan.subnet, container_config.index_of(name))
    config["NetworkingConfig"] = {"EndpointsConfig": {plan.network: {"IPAMConfig": {"IPv4Address": address}}}}
    container = api.create_container_from_config(config, name)["Id"]
    files = {
        "/root/.ssh/": ("", 0o700),
        "/root/.ssh/authorized_keys": (f"{_public(plan.private_key)} cloudmesh-operator\n", 0o600),
        container_config.OPERATOR_KEY: (plan.private_key, 0o600),
        "/etc/ssh/ssh_host_ed25519_key": (host_key, 0o600),
        "/etc/ssh/ssh_host_ed25519_key.pub": (f"{host_public}\n", 0o644),
        "/etc/cloudmesh-local/": ("", 0o755),
        "/etc/cloudmesh-local/resolv.conf": (plan.given.resolv_conf, 0o644),
    }
    api.put_archive(container, "/", container_config.pack(files))


def _network(client: Any, cluster: str) -> tuple[str, str]:
    """Return the name and subnet of the cluster's network, made if need be.

    The engine picks a free subnet, and the network is made again with it: only then hosts can have fixed addresses.
    """
    name = f"cloudmesh-{cluster}"
    for network in client.networks.list(filters={"label": f"{container_config.LABEL}={cluster}"}):
        subnet = network.attrs["Labels"].get(_SUBNET_LABEL)
        if subnet:
            return network.name, str(subnet)
        network.remove()
    labels = {container_config.LABEL: cluster}
    trial = client.networks.create(name, labels=labels)
    trial.reload()
    pool = {key: value for key, value in trial.attrs["IPAM"]["Config"][0].items() if key in ("Subnet", "Gateway")}
    trial.remove()
    labels[_SUBNET_LABEL] = pool["Subnet"]
    client.networks.create(name, labels=labels, ipam={"Driver": "default", "Config": [pool]})
    return name, str(pool["Subnet"])


def _docker_capabilities(client: Any, cluster: str, image: str) -> container_config.DockerCapabilities:
    """Ask a container on the engine's default network what the engine's machine gives.

    Raises:
        ImageError: it did not say.
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


def _new_key() -> tuple[str, str]:
    """Return a new ed25519 key pair in OpenSSH's format: the private and the public key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private.decode(), _public(private.decode())


def _public(private_key: str) -> str:
    """Return the public key, "TYPE BASE64", of a private key in OpenSSH's format."""
    from cryptography.hazmat.primitives import serialization

    public = serialization.load_ssh_private_key(private_key.encode(), None).public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
