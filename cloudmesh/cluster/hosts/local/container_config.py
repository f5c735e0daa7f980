"""The configuration that makes a container behave like a machine, in the form of Docker's API."""

from __future__ import annotations

import io
import ipaddress
import tarfile
from dataclasses import dataclass
from typing import Any

from cloudmesh.cluster.core.paths import DATA_DIR

LABEL = "cloudmesh.cluster"
HOST_KEY_LABEL = "cloudmesh.host-key"
OPERATOR_KEY = "/root/.ssh/cloudmesh-operator"
# Docker volumes of every local host, because overlay file systems cannot be mounted on overlay file systems.
VOLUMES = {
    "docker": "/var/lib/docker",
    "containerd": "/var/lib/containerd",
    "kubelet": "/var/lib/kubelet",
    "cloudmesh": DATA_DIR,
}
# By number, as in linux/capability.h. Later capabilities (PERFMON, BPF, CHECKPOINT_RESTORE) are included in SYS_ADMIN,
# and old Docker daemons do not know their names.
# fmt: off
_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
)
# fmt: on


@dataclass(frozen=True)
class DockerCapabilities:
    """What the Docker daemon's machine gives to its containers.

    Attributes:
        capabilities: names of the capabilities that the Docker daemon can grant.
        resolv_conf: the resolver configuration of containers in Docker's default network.
    """

    capabilities: tuple[str, ...]
    resolv_conf: str


# Run by a container in the process namespace of the Docker daemon's machine: there, the parent of the container's
# process is the one that grants capabilities. The answer is written to a file, because not every logging driver can be
# read.
CAPABILITY_ANSWER = "/probe"
CAPABILITY_PROBE = ["sh", "-c", f"{{ grep CapBnd: /proc/$PPID/status; cat /etc/resolv.conf; }} >{CAPABILITY_ANSWER}"]


def parse_probe(output: str) -> DockerCapabilities:
    """Return what the output of `CAPABILITY_PROBE` says.

    Raises:
        ValueError: the output does not begin with "CapBnd:" and a hexadecimal number.
    """
    first, _, resolv_conf = output.partition("\n")
    word, _, mask = first.partition(":")
    if word != "CapBnd":
        raise ValueError(f"not what the probe says: {output[:80]!a}")
    bits = int(mask, 16)
    return DockerCapabilities(tuple(name for bit, name in enumerate(_CAPABILITIES) if bits >> bit & 1), resolv_conf)


def name_of(cluster: str, index: int) -> str:
    """Return the name of a cluster's local host; the first has index 1."""
    return f"{cluster}-{index}"


def index_of(name: str) -> int:
    """Return the number at the end of a local host's name; 0 if there is none."""
    suffix = name.rpartition("-")[2]
    return int(suffix) if suffix.isdecimal() else 0


def address_of(subnet: str, index: int) -> str:
    """Return the fixed address of a local host, which it keeps when it is restarted, as a machine does.

    The first address of the subnet is the gateway's.

    Raises:
        ValueError: the subnet has no address for this index.
    """
    network = ipaddress.ip_network(subnet)
    if index + 2 >= network.num_addresses:
        raise ValueError(f"the Docker network {subnet} has no room for {index} hosts")
    return str(network[index + 1])


def container_config(name: str, image: str, capabilities: tuple[str, ...], *, modules: bool) -> dict[str, Any]:
    """Return the body of Docker's request to create a local host, without labels and network.

    It does not use `Privileged`, which fails where the Docker daemon itself lacks a capability, and would give the
    operator's devices and consoles to the host's systemd.

    Args:
        name: the local host's name.
        image: the tag of its image.
        capabilities: the capabilities that the Docker daemon can grant.
        modules: whether the Docker daemon's machine has kernel modules to load.
    """
    host_config = {
        "CapAdd": list(capabilities),
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        "DeviceCgroupRules": ["a *:* rwm"],
        "CgroupnsMode": "private",
        "Tmpfs": {"/run": "", "/tmp": "exec"},  # noqa: S108  # inside the container
        "Mounts": [_build_volume_mount(name, what, target) for what, target in VOLUMES.items()],
        "Binds": ["/lib/modules:/lib/modules:ro"] if modules else [],
        "PortBindings": {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        # so that a local host starts again after `reboot`, as a machine does
        "RestartPolicy": {"Name": "unless-stopped"},
    }
    return {"Image": image, "Hostname": name, "ExposedPorts": {"22/tcp": {}}, "HostConfig": host_config}


def volume_of(name: str, what: str) -> str:
    """Return the name of the Docker volume with a part of a local host's data; see `VOLUMES`."""
    return f"cloudmesh-{name}-{what}"


def _build_volume_mount(name: str, what: str, target: str) -> dict[str, Any]:
    """Return the mount of a Docker volume that has the cluster's label."""
    labels = {LABEL: name.rpartition("-")[0]}
    return {
        "Type": "volume",
        "Source": volume_of(name, what),
        "Target": target,
        "VolumeOptions": {"Labels": labels},
    }


def first_file(archive: bytes) -> str:
    """Return the text of the first member of a tar archive; empty if that is not a file."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.next()
        content = tar.extractfile(member) if member else None
        return content.read().decode() if content else ""
