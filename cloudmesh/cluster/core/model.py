"""The vocabulary between the layers: immutable, without behaviour that reaches outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


# Below it, hosts mount what places have on other machines; see images/host/clean.sh.
NFS_MOUNTS = "/var/lib/cloudmesh/storage"


@dataclass(frozen=True)
class Host:
    """A machine as SSH reaches it.

    Attributes:
        name: what the user wrote, or the local host's name; an alias of `~/.ssh/config`, a DNS name or an address.
        user: login name; empty: as `~/.ssh/config` says, else the operator's own.
        port: TCP port of sshd; 0: as `~/.ssh/config` says, else 22.
        key: path of a private key file; empty: as `~/.ssh/config` says, the agent, the default files.
        address: where to connect, if that is not `name` (local hosts).
        private_key: a private key held in memory, in OpenSSH's format (local hosts).
        host_key: the host's public key, "TYPE BASE64", where it is known from a trusted source (local hosts).
    """

    name: str
    user: str = ""
    port: int = 0
    key: str = ""
    address: str = ""
    private_key: str = field(default="", repr=False)
    host_key: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.port}" if self.port and not self.address else self.name


class Role(str, Enum):
    """What a host does in a cluster."""

    SERVER = "server"
    WORKER = "worker"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Facts:
    """What a host says of itself before anything is changed (see `cloudmesh/images/host/facts.sh`).

    Attributes:
        machine_id: tells apart two machines, and finds one machine under two addresses.
        hostname: its own name.
        address: the IPv4 address that other hosts reach it by.
        os: "debian-13", "ubuntu-24.04".
        arch: Debian's name of the architecture: "amd64", "arm64".
        cores: processors.
        memory_mb: memory in MiB.
        disk_free_mb: free MiB where the cluster's data goes; the least, where that is several disks.
        clock: seconds since the epoch by its clock, when asked.
        skew: its clock minus the operator's, in seconds, the half round trip taken off.
        disk: where the disk with the least room is mounted.
        marker: the cluster marker as its JSON text; empty where the host belongs to no cluster.
        busy_ports: those of the ports asked about that something listens on.
        systemd: whether PID 1 is systemd.
        root: whether the script ran as root.
        addresses: every IPv4 address with its interface and prefix, "eth0 10.0.0.5/24".
        apt: whether there is apt-get.
        docker: version of the Docker engine that is installed; empty where there is none.
        cgroup: version of control groups, 1 or 2 (a mixture is 1).
        raises_limits: whether root may raise limits and lower out-of-memory scores (CAP_SYS_RESOURCE).
    """

    machine_id: str
    hostname: str
    address: str
    os: str
    arch: str
    cores: int
    memory_mb: int
    disk_free_mb: int
    clock: float
    skew: float
    disk: str = ""
    marker: str = ""
    busy_ports: tuple[int, ...] = ()
    systemd: bool = True
    root: bool = True
    addresses: tuple[str, ...] = ()
    apt: bool = True
    docker: str = ""
    cgroup: int = 2
    raises_limits: bool = True


@dataclass(frozen=True)
class Marker:
    """The file by which a host knows its cluster; root-only, on every host of it.

    Attributes:
        cluster: the cluster's name.
        id: random, made with the cluster: tells it from another of the same name.
        provider: "nomad" or "kubernetes".
        role: what this host does.
        address: by which other hosts reach this one.
        servers: addresses of the servers, the first one first.
    """

    cluster: str
    id: str
    provider: str
    role: Role
    address: str
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A host as the engine knows it.

    Attributes:
        name: the host as the operator reaches it, or the engine's name where that is unknown.
        address: within the cluster.
        roles: "server", "worker" or both.
        status: "ready", "down", "draining", "missing" (has the marker, unknown to the engine).
        cores: processors that jobs can use; 0 where unknown.
        memory_mb: MiB that jobs can use; 0 where unknown.
        free_cores: processors not taken by jobs.
        free_memory_mb: MiB not taken by jobs.
        version: the engine's version on it.
        contact: how the operator reaches it, "user@host:port".
        host_key: its SSH host key, "TYPE BASE64", as it was when it joined.
        id: the engine's own name for it.
    """

    name: str
    address: str
    roles: tuple[Role, ...]
    status: str
    cores: float = 0
    memory_mb: int = 0
    free_cores: float = 0
    free_memory_mb: int = 0
    version: str = ""
    contact: str = ""
    host_key: str = ""
    id: str = ""


@dataclass(frozen=True)
class ClusterInfo:
    """A cluster, as its hosts and its engine tell it."""

    name: str
    id: str
    provider: str
    api: str
    registry: str
    nodes: tuple[Node, ...] = ()
    healthy: bool = False


@dataclass(frozen=True)
class Volume:
    """A place for data that outlives jobs, as the cluster's engine keeps it. Jobs know its name and nothing else.

    Attributes:
        name: an RFC 1123 label.
        kind: "directory" (on the hosts), "nfs" (mounted on every host), "s3", "hadoop" (a HadoopService).
        settings: directory: path; nfs: server, path; s3: url ("s3a://BUCKET/PREFIX"), endpoint, region, path_style;
            hadoop: service (a job's id), path.
        secrets: s3: access_key, secret_key; hadoop: what the service lets in.
    """

    name: str
    kind: str
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def directory(self) -> str:
        """Where it is on every host; empty where it is no directory there."""
        if self.kind == "nfs":
            return f"{NFS_MOUNTS}/{self.name}"
        return self.settings["path"] if self.kind == "directory" else ""


class State(str, Enum):
    """What a job or task is doing, in words that both engines share."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.SUCCEEDED, State.FAILED, State.STOPPED)


@dataclass(frozen=True)
class TaskStatus:
    """One task of a job: the driver, a worker.

    Attributes:
        exit_code: None while it has not ended.
        reason: why it failed or waits, in words; empty where there is nothing to say.
    """

    name: str
    host: str
    state: State
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class JobStatus:
    """A job as the engine tells it.

    Attributes:
        submitted: seconds since the epoch.
        duration: seconds from the start of the driver until it ended, or until now; 0 where it has not started.
        exit_code: of the driver; None while it has not ended.
        reason: why it failed or waits, in words.
        digest: of what was submitted, so that the same id and content can be known again.
        volumes: names of those that its tasks use.
    """

    id: str
    name: str
    state: State
    submitted: float = 0.0
    duration: float = 0.0
    exit_code: int | None = None
    reason: str = ""
    digest: str = ""
    volumes: tuple[str, ...] = ()
    tasks: tuple[TaskStatus, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where its tasks run or ran, each once."""
        return tuple(dict.fromkeys(task.host for task in self.tasks if task.host))


def volume_source(place: Volume) -> str:
    """Return where the data of a place is, in one word."""
    its = place.settings
    if place.kind == "nfs":
        return f"{its['server']}:{its['path']}"
    if place.kind == "hadoop":
        return f"hdfs://{its['service']}{its['path']}"
    return its["url"] if place.kind == "s3" else its["path"]
