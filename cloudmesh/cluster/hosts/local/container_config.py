"""What makes a container stand for a machine: its configuration, as Docker's API takes it."""

from __future__ import annotations

import io
import ipaddress
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LABEL = "cloudmesh.cluster"
HOST_KEY_LABEL = "cloudmesh.host-key"
OPERATOR_KEY = "/root/.ssh/cloudmesh-operator"
# overlay on overlay does not work, and these hold what engines put on overlays
VOLUMES = {
    "docker": "/var/lib/docker",
    "containerd": "/var/lib/containerd",
    "kubelet": "/var/lib/kubelet",
    "cloudmesh": "/var/lib/cloudmesh",
}
# By number, as in linux/capability.h. Later ones (PERFMON, BPF, CHECKPOINT_RESTORE) are part of SYS_ADMIN, and old
# Docker engines do not know their names.
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
    """What the engine's machine gives to its containers.

    Attributes:
        capabilities: that the engine can grant.
        resolv_conf: the resolver configuration of its default network.
    """

    capabilities: tuple[str, ...]
    resolv_conf: str


# Run by a container in the engine's process namespace: its parent is the one that grants capabilities. The answer is a
# file, because not every logging driver can be read.
CAPABILITY_ANSWER = "/probe"
CAPABILITY_PROBE = ["sh", "-c", f"{{ grep CapBnd: /proc/$PPID/status; cat /etc/resolv.conf; }} >{CAPABILITY_ANSWER}"]


def parse_probe(output: str) -> DockerCapabilities:
    """Read the output of `PROBE`.

    Raises:
        ValueError: it is not that.
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
    """Return the index in a local host's name; 0 if it has none."""
    suffix = name.rpartition("-")[2]
    return int(suffix) if suffix.isdecimal() else 0


def volume_of(name: str, what: str) -> str:
    """Return the name of a local host's volume."""
    return f"cloudmesh-{name}-{what}"


def address_of(subnet: str, index: int) -> str:
    """Return the fixed address of a local host: it keeps it when restarted, as a machine does. The gateway is first.

    Raises:
        ValueError: the subnet is too small.
    """
    network = ipaddress.ip_network(subnet)
    if index + 2 >= network.num_addresses:
        raise ValueError(f"the Docker network {subnet} has no room for {index} hosts")
    return str(network[index + 1])


def container_config(name: str, image: str, capabilities: tuple[str, ...], *, modules: bool) -> dict[str, Any]:
    """Return the body of Docker's request to create a local host, without labels and network.

    Args:
        name: the local host's.
        image: the tag of its image.
        capabilities: those that the engine can grant.
        modules: whether the engine's machine has kernel modules to load.

    Not `Privileged`: that fails where the engine itself lacks a capability, and would give the operator's devices and
    consoles to the host's systemd.
    """
    host_config = {
        "CapAdd": list(capabilities),
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        "DeviceCgroupRules": ["a *:* rwm"],
        "CgroupnsMode": "private",
        "Tmpfs": {"/run": "", "/tmp": "exec"},  # noqa: S108  # inside the container
        "Mounts": [_volume(name, what, target) for what, target in VOLUMES.items()],
        "Binds": ["/lib/modules:/lib/modules:ro"] if modules else [],
        "PortBindings": {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        # a machine that is told to reboot comes back
        "RestartPolicy": {"Name": "unless-stopped"},
    }
    return {"Image": image, "Hostname": name, "ExposedPorts": {"22/tcp": {}}, "HostConfig": host_config}


def _volume(name: str, what: str, target: str) -> dict[str, Any]:
    """Return the mount of a labelled volume."""
    labels = {LABEL: name.rpartition("-")[0]}
    source = volume_of(name, what)
    return {"Type": "volume", "Source": source, "Target": target, "VolumeOptions": {"Labels": labels}}


def pack(files: Mapping[str, tuple[str, int]]) -> bytes:
    """Return a tar archive of root's files and directories, to be unpacked at /.

    Args:
        files: text and mode by path; a path that ends in "/" is a directory.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, (text, mode) in files.items():
            member = tarfile.TarInfo(path.strip("/"))
            member.mode = mode
            if path.endswith("/"):
                member.type = tarfile.DIRTYPE
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def first_file(archive: bytes) -> str:
    """Return the text of the first member of a tar archive; nothing if that is no file."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.next()
        content = tar.extractfile(member) if member else None
        return content.read().decode() if content else ""
