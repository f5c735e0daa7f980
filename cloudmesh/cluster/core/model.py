"""The data types that all layers share: immutable values, whose methods only compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from cloudmesh.cluster.core.paths import DATA_DIR

# The directory on every host below which NFS volumes are mounted; images/host/clean.sh spells the same path.
NFS_MOUNTS = f"{DATA_DIR}/storage"


@dataclass(frozen=True)
class Host:
    """A machine as SSH reaches it.

    Attributes:
        name: what the user wrote: an alias of `~/.ssh/config`, a DNS name or an address; or the name of a local host.
        user: login name; empty: that of `~/.ssh/config`, else the operator's.
        port: TCP port of sshd; 0: that of `~/.ssh/config`, else 22.
        key: path of a private key file; empty: those of `~/.ssh/config`, of the SSH agent, and the default files.
        address: where to connect; empty: `name` (set for local hosts only).
        private_key: a private key held in memory, in OpenSSH's format (local hosts only).
        host_key: the host's public key, "TYPE BASE64", from a trusted source; empty: known_hosts files are read.
    """

    name: str
    user: str = ""
    port: int = 0
    key: str = ""
    address: str = ""
    private_key: str = field(default="", repr=False)
    host_key: str = ""

    def __str__(self) -> str:
        if not self.port or self.address:
            return self.name
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


class Role(str, Enum):
    """What a host does in a cluster."""

    SERVER = "server"
    WORKER = "worker"

    def __str__(self) -> str:
        return self.value


class EngineState(str, Enum):
    """What a host has of an engine of ours: nothing; what it needs; less; or not even what the engine knows it by."""

    NONE = "none"
    STARTED = "started"
    DAMAGED = "damaged"
    WIPED = "wiped"


@dataclass(frozen=True)
class Facts:
    """What a host reports about itself before anything is changed on it (see `cloudmesh/images/host/facts.sh`).

    Attributes:
        machine_id: equal for the same machine under two names or addresses, different for two machines.
        hostname: the host's name for itself.
        address: the IPv4 address at which other hosts reach it.
        os: "debian-13", "ubuntu-24.04".
        arch: Debian's name of the architecture: "amd64", "arm64".
        cores: processors.
        memory_mb: memory in MiB.
        disk_free_mb: free MiB where the cluster's data goes; where that is several disks, the least of them.
        clock: seconds since the epoch by the host's clock, when it was asked.
        skew: the host's clock minus the operator's, in seconds; half of the round trip is subtracted.
        disk: where the disk with the least free space is mounted.
        marker: the marker's JSON text; empty where the host belongs to no cluster.
        busy_ports: the ports that were asked about and that a program listens on.
        systemd: whether PID 1 is systemd, and answers.
        systemd_silent: whether PID 1 is systemd, and does not answer.
        root: whether the script ran as root.
        addresses: every IPv4 address with its interface and prefix, "eth0 10.0.0.5/24".
        apt: whether the host has apt-get.
        docker: version of the installed Docker daemon; empty where there is none.
        cgroup: version of control groups, 1 or 2 (a mixture counts as 1).
        raises_limits: whether root may raise limits and lower out-of-memory scores (CAP_SYS_RESOURCE).
        routes: what the host reaches otherwise than by its default route, "10.0.0.0/8 tun0", and "10.1.1.1 nameserver".
        held: packages that are not there and on hold, so that they cannot be installed.
        engine: what is left of an engine of ours that was started here to the end once; it may be silent now.
        forwards: whether its sshd opens connections to its ports.
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
    routes: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    systemd_silent: bool = False
    engine: EngineState = EngineState.NONE
    forwards: bool = True

    @property
    def engine_started(self) -> bool:
        """Whether an engine of ours was started here once, whatever is left of it."""
        return self.engine is not EngineState.NONE


@dataclass(frozen=True)
class Marker:
    """The file, on every host of a cluster, that says which cluster the host belongs to; only root can read it.

    Attributes:
        cluster: the cluster's name.
        id: a random string that tells clusters of the same name apart.
        provider: "nomad" or "kubernetes".
        role: what this host does.
        address: the address at which other hosts reach this one.
        servers: addresses of the servers, beginning with the first server.
        node: the host's name as a node of the engine; empty: an earlier version wrote the marker.
        generation: how often the cluster's servers have changed; of several lists of them, the newest one is right.
        version: which version of the engine the host is to run; empty: an earlier version wrote the marker.
        paused: whether the engine was told to send the host no jobs while it is upgraded, and is to be told otherwise.
    """

    cluster: str
    id: str
    provider: str
    role: Role
    address: str
    servers: tuple[str, ...]
    node: str = ""
    generation: int = 0
    version: str = ""
    paused: bool = False


@dataclass(frozen=True)
class Node:
    """A host in the engine.

    Attributes:
        name: the host as the operator reaches it, or the engine's name for it where the former is unknown.
        address: the node's address within the cluster.
        roles: server, worker or both.
        status: "ready", "down", "draining", "missing" (it has the marker, but the engine does not know it), "silent"
            (the engine has not heard of it lately: it starts, or is gone), or "unknown" (the engine does not answer).
        cores: processors that jobs can use; 0 where unknown.
        memory_mb: MiB that jobs can use; 0 where unknown.
        free_cores: processors that no job uses.
        free_memory_mb: MiB that no job uses.
        version: the engine's version on the node.
        contact: how the operator reached it when it joined, "user@host:port".
        host_key: its SSH host key when it joined, "TYPE BASE64".
        id: the engine's identifier of it.
        node: the engine's name for it.
        expires: when the first of its certificates does, "2027-01-31T12:00:00Z"; None where the host did not say it.
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
    node: str = ""
    expires: str | None = None


@dataclass(frozen=True)
class ClusterInfo:
    """What is shown of a cluster.

    Attributes:
        name: the cluster's name.
        id: the random string of its markers.
        provider: "nomad" or "kubernetes".
        api: address of the engine's API.
        registry: what hosts call the cluster's registry, "NAME:PORT".
        nodes: its nodes.
        healthy: whether it has nodes and all of them are ready.
    """

    name: str
    id: str
    provider: str
    api: str
    registry: str
    nodes: tuple[Node, ...] = ()
    healthy: bool = False


@dataclass(frozen=True)
class Volume:
    """A place for data that outlives jobs. The cluster's engine stores this description; jobs refer to it by name only.

    Attributes:
        name: an RFC 1123 label.
        kind: "directory" (on the hosts), "nfs" (mounted on every host), "s3", or "hadoop" (in a HadoopService).
        settings: keys by kind. directory: path. nfs: server, path. s3: url ("s3a://BUCKET/PREFIX"), endpoint, region,
            path_style. hadoop: service (a job's id), path.
        secrets: keys by kind. s3: access_key, secret_key. hadoop: secret (the one that the service accepts).
    """

    name: str
    kind: str
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def directory(self) -> str:
        """The directory on every host that has the data; empty for kinds that have none."""
        if self.kind == "nfs":
            return f"{NFS_MOUNTS}/{self.name}"
        return self.settings["path"] if self.kind == "directory" else ""

    @property
    def source(self) -> str:
        """Where the data is, in one word: a path, "SERVER:PATH" or a URL."""
        settings = self.settings
        if self.kind == "nfs":
            return f"{settings['server']}:{settings['path']}"
        if self.kind == "hadoop":
            return f"hdfs://{settings['service']}{settings['path']}"
        return settings["url"] if self.kind == "s3" else settings["path"]


class State(str, Enum):
    """What a job or task is doing, in the words that are used for both engines."""

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
        """Whether this state is final."""
        return self in (State.SUCCEEDED, State.FAILED, State.STOPPED)


@dataclass(frozen=True)
class TaskStatus:
    """One task of a job, such as the driver or a worker.

    Attributes:
        name: the task's name within its job.
        host: where it runs or ran; empty where it has not started.
        state: what it is doing.
        exit_code: None until the task has ended.
        reason: why it failed or waits; empty where there is nothing to say.
    """

    name: str
    host: str
    state: State
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class JobStatus:
    """What the engine says about a job.

    Attributes:
        id: the job's id within its cluster.
        name: the name in the job file.
        state: what the job is doing.
        submitted: when it was submitted, in seconds since the epoch.
        duration: seconds from the start of the driver until its end, or until now; 0 where it has not started.
        exit_code: exit code of the driver; None until it has ended.
        reason: why the job failed or waits; empty where there is nothing to say.
        digest: digest of what was submitted, by which a repeated submission of the same job is recognised.
        volumes: names of the volumes that its tasks use.
        tasks: its tasks.
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
        """The hosts where its tasks run or ran, without repetitions."""
        return tuple(dict.fromkeys(task.host for task in self.tasks if task.host))
