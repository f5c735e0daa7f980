"""New local hosts: their network, their keys and their containers. The caller maps the Docker SDK's errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cloudmesh.cluster.errors import ImageError
from cloudmesh.cluster.hosts import machine
from cloudmesh.cluster.hosts.local_engine import gone, read

_PROBE_SECONDS = 60
_SUBNET_LABEL = "cloudmesh.subnet"


@dataclass(frozen=True)
class Plan:
    """What every new host of a cluster has in common."""

    cluster: str
    image: str
    network: str
    subnet: str
    given: machine.Surroundings
    private_key: str


def plan(client: Any, cluster: str, image: str, private_key: str) -> Plan:
    """Make what new hosts need: the network and, where no host of the cluster has one yet, the operator's key."""
    network, subnet = _network(client, cluster)
    given = _surroundings(client, cluster, image)
    return Plan(cluster, image, network, subnet, given, private_key or _new_key()[0])


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
        probe.wait(timeout=_PROBE_SECONDS)
        return machine.surroundings(read(client, probe.id, machine.PROBE_ANSWER))
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
