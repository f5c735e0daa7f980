"""What local hosts need of the Docker engine: listing, making, booting. The caller maps the SDK's errors."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.errors import HostError, ImageError
from cloudmesh.cluster.hosts import machine
from cloudmesh.cluster.model import Host

if TYPE_CHECKING:
    from cloudmesh.cluster.model import Report

_BOOT_SECONDS = 60
_SUBNET_LABEL = "cloudmesh.subnet"
# where nothing listens: a stopped host must be found unreachable, not be taken for the operator's own sshd
_NO_PORT = 1


@dataclass(frozen=True)
class Plan:
    """What every new host of a cluster has in common."""

    cluster: str
    image: str
    network: str
    subnet: str
    given: machine.Surroundings
    private_key: str


def listed(client: Any, cluster: str) -> dict[str, dict[str, Any]]:
    """Return what the engine says of each local host, by name, in the order of their numbers."""
    labels = [f"{machine.LABEL}={cluster}" if cluster else machine.LABEL, machine.HOST_KEY_LABEL]
    found = client.api.containers(all=True, filters={"label": labels})
    by_name = {summary["Names"][0].lstrip("/"): summary for summary in found if summary["Names"]}
    return dict(sorted(by_name.items(), key=lambda item: (item[1]["Labels"][machine.LABEL], machine.index_of(item[0]))))


def usable(client: Any, cluster: str) -> dict[str, dict[str, Any]]:
    """Return the hosts that were made completely; the leftovers of an interrupted create are removed."""
    found = listed(client, cluster)
    for name, summary in list(found.items()):
        if summary["State"] in ("created", "dead", "removing"):
            gone(partial(client.api.remove_container, summary["Id"], force=True, v=True))
            del found[name]
    return found


def hosts(client: Any, found: dict[str, dict[str, Any]]) -> dict[str, tuple[Host, ...]]:
    """Return the hosts by cluster. The operator's key is read once for each cluster."""
    hosts: dict[str, list[Host]] = {}
    keys: dict[str, str] = {}
    for name, summary in found.items():
        labels = summary["Labels"]
        cluster = labels[machine.LABEL]
        if cluster not in keys:
            keys[cluster] = _read(client, summary["Id"], machine.OPERATOR_KEY)
        host = Host(
            name=name,
            user="root",
            address="127.0.0.1",
            port=_port(summary),
            private_key=keys[cluster],
            host_key=labels[machine.HOST_KEY_LABEL],
        )
        hosts.setdefault(cluster, []).append(host)
    return {cluster: tuple(members) for cluster, members in hosts.items()}


def _port(summary: dict[str, Any]) -> int:
    """Return where sshd is published on this machine."""
    ports = [port.get("PublicPort", 0) for port in summary.get("Ports") or () if port.get("PrivatePort") == 22]
    return next((int(port) for port in ports if port), _NO_PORT)


def _read(client: Any, container: str, path: str) -> str:
    """Return the text of a file in a container; empty if it is not there."""
    import docker.errors

    try:
        chunks, _ = client.api.get_archive(container, path)
        return machine.first_file(b"".join(chunks))
    except docker.errors.NotFound:
        return ""


def gone(remove: Callable[[], object]) -> None:
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


def plan(client: Any, cluster: str, image: str, there: dict[str, dict[str, Any]]) -> Plan:
    """Make what new hosts need: the network and, where no host of the cluster has one yet, the operator's key."""
    network, subnet = _network(client, cluster)
    known = (_read(client, summary["Id"], machine.OPERATOR_KEY) for summary in there.values())
    private_key = next(filter(None, known), "") or _new_key()[0]
    return Plan(cluster, image, network, subnet, _surroundings(client, cluster, image), private_key)


def make(client: Any, name: str, plan: Plan) -> None:
    """Make a local host; it is not started. Its keys are in it before it can ever run."""
    api = client.api
    host_key, host_public = _new_key()
    config = machine.container_config(name, plan.image, plan.given.capabilities, modules=Path("/lib/modules").is_dir())
    config["Labels"] = {machine.LABEL: plan.cluster, machine.HOST_KEY_LABEL: host_public}
    address = machine.address_of(plan.subnet, machine.index_of(name))
    config["NetworkingConfig"] = {"EndpointsConfig": {plan.network: {"IPAMConfig": {"IPv4Address": address}}}}
    container = api.create_container_from_config(config, name)["Id"]
    files = {
        "/root/.ssh/": ("", 0o700),
        "/root/.ssh/authorized_keys": (f"{_public(plan.private_key)} cloudmesh-operator\n", 0o600),
        machine.OPERATOR_KEY: (plan.private_key, 0o600),
        "/etc/ssh/ssh_host_ed25519_key": (host_key, 0o600),
        "/etc/ssh/ssh_host_ed25519_key.pub": (f"{host_public}\n", 0o644),
        "/etc/cloudmesh-local/": ("", 0o755),
        "/etc/cloudmesh-local/resolv.conf": (plan.given.resolv_conf, 0o644),
    }
    api.put_archive(container, "/", machine.pack(files))


def boot(client: Any, name: str, report: Report) -> None:
    """Start a local host where it does not run, and wait until systemd has booted and sshd answers.

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
        status, output = container.exec_run(["/usr/local/lib/cloudmesh/booted.sh", str(_BOOT_SECONDS)])
    except docker.errors.APIError as error:
        status, output = 1, str(error.explanation).encode()
    if status:
        why = f"did not boot within {_BOOT_SECONDS} s: {_last_lines(container, output)}"
        report.failed(name, why)
        raise HostError(name, why)
    container.reload()
    published = container.ports.get("22/tcp") or [{"HostPort": str(_NO_PORT)}]
    if not _ssh_answers(int(published[0]["HostPort"])):
        raise HostError(
            name, "its sshd cannot be reached at 127.0.0.1: local hosts need a Docker engine on this machine"
        )
    report.done(name)


def removals(client: Any, label: dict[str, str]) -> Iterator[list[Callable[[], object]]]:
    """Yield what removes everything of a label, kind by kind, in an order in which each kind can go."""
    containers = client.containers.list(all=True, filters=label, ignore_removed=True)
    yield [partial(container.remove, force=True, v=True) for container in containers]
    yield [partial(volume.remove, force=True) for volume in client.volumes.list(filters=label)]
    yield [network.remove for network in client.networks.list(filters=label)]


def _network(client: Any, cluster: str) -> tuple[str, str]:
    """Return the name and subnet of the cluster's network, made if need be.

    The engine picks a free subnet, and the network is made again with it: only then hosts can have fixed addresses.
    """
    name = f"cloudmesh-{cluster}"
    for network in client.networks.list(filters={"label": f"{machine.LABEL}={cluster}"}):
        subnet = network.attrs["Labels"].get(_SUBNET_LABEL)
        if subnet:
            return network.name, str(subnet)
        network.remove()
    labels = {machine.LABEL: cluster}
    trial = client.networks.create(name, labels=labels)
    trial.reload()
    pool = {key: value for key, value in trial.attrs["IPAM"]["Config"][0].items() if key in ("Subnet", "Gateway")}
    trial.remove()
    labels[_SUBNET_LABEL] = pool["Subnet"]
    client.networks.create(name, labels=labels, ipam={"Driver": "default", "Config": [pool]})
    return name, str(pool["Subnet"])


def _surroundings(client: Any, cluster: str, image: str) -> machine.Surroundings:
    """Ask a container on the engine's default network what the engine's machine gives.

    Raises:
        ImageError: it did not say.
    """
    probe = client.containers.create(
        image, [], entrypoint=machine.PROBE, pid_mode="host", labels={machine.LABEL: cluster}, network_mode="bridge"
    )
    try:
        probe.start()
        probe.wait(timeout=_BOOT_SECONDS)
        return machine.surroundings(_read(client, probe.id, machine.PROBE_ANSWER))
    except ValueError as error:
        raise ImageError(f"asking the Docker engine for its capabilities: {error}") from error
    finally:
        gone(partial(probe.remove, force=True, v=True))


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


def _ssh_answers(port: int) -> bool:
    """Whether an sshd greets at a port of this machine within some seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def _last_lines(container: Any, state: bytes) -> str:
    """Return the last that a host that did not boot has to say, in one line."""
    container.reload()
    if container.status == "running":
        status, output = container.exec_run(["journalctl", "--no-pager", "-q", "-o", "cat", "-p", "warning", "-n", "5"])
        output = b"" if status else output
    else:
        output = container.logs(tail=5)
    lines = [line.strip() for line in (state + b"\n" + output).decode(errors="replace").splitlines()]
    return " | ".join(filter(None, lines))
