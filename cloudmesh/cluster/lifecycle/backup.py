"""A cluster is saved into a file, from which `restore` makes it again on other hosts; its jobs go on meanwhile."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.encryption import PLAIN, Lock
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Host, Role
from cloudmesh.cluster.hosts import lock, members
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.lifecycle import backup_file
from cloudmesh.cluster.lifecycle.backup_file import Backup
from cloudmesh.cluster.lifecycle.phases import Phase, perform
from cloudmesh.cluster.providers.open_cluster import open_discovered


@dataclass(frozen=True)
class Request:
    """Where a backup goes.

    Attributes:
        path: the file.
        lock: by what it is encrypted.
        overwrite: whether a file that is there already is replaced.

    Raises:
        UsageError: there is something at the path, or the key is none.
    """

    path: Path
    lock: Lock = field(default_factory=Lock)
    overwrite: bool = False

    def __post_init__(self) -> None:
        backup_file.check_new(self.path, overwrite=self.overwrite)
        self.lock.check()


@dataclass
class Saving:
    """One run of `backup`.

    Attributes:
        context: the operator's side.
        discovered: the cluster's hosts that answered.
        request: where the backup goes.
        backup: once the cluster has been asked.
        failures: none; what fails here ends it.
        stack: releases the lock at the end.
    """

    context: Context
    discovered: DiscoveredCluster
    request: Request
    backup: Backup = field(init=False)
    failures: dict[str, ClusterError] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.discovered.cluster


def _lock(run: Saving) -> None:
    server = run.discovered.list_servers()[0]
    run.stack.callback(lock.hold(server, run.cluster, run.context.operator).release)


def _ask(run: Saving) -> None:
    # The secrets are read while nobody else changes the cluster: they and the state are of the same time.
    opened = open_discovered(run.context, run.discovered)
    if opened.spec.secrets.are_rotated:
        raise ClusterError(
            f"new certificates and keys of cluster {run.cluster} are on their way: finish that by "
            f"`cms cluster rotate -n {run.cluster}`, and make the backup then"
        )
    with opened.engine() as engine:
        nodes, snapshot = engine.nodes(), engine.snapshot()
    spec = opened.spec
    barred = members.read(opened.server).barred
    run.backup = Backup(
        cluster=spec.cluster,
        id=spec.id,
        provider=spec.provider,
        version=next((node.version for node in nodes if Role.SERVER in node.roles), ""),
        generation=spec.generation,
        hosts=tuple(
            {"name": node.name, "node": node.node, "address": node.address, "role": str(node.roles[0])}
            for node in nodes
            if node.roles
        ),
        barred=barred,
        secrets=spec.secrets,
        snapshot=snapshot,
    )


def _write(run: Saving) -> None:
    request = run.request
    backup_file.write(request.path, run.backup, request.lock, overwrite=request.overwrite)


def _servers(run: Saving) -> list[Host]:
    return list(run.discovered.servers)


PHASES: tuple[Phase[Saving], ...] = (
    Phase("lock", "let no other operator change the cluster meanwhile", _lock, _servers),
    Phase("state", "ask the engine for its state, a server for the secrets", _ask, _servers),
    Phase("write", "write the file", _write, lambda _: ()),
)


def backup(context: Context, discovered: DiscoveredCluster, request: Request) -> None:
    """Save a cluster into a file.

    Args:
        context: the operator's side.
        discovered: the cluster's hosts that answered; one server is enough where it has a majority beside it.
        request: where the backup goes.

    Raises:
        LockedError: another operator is changing the cluster.
        ClusterError: no server answers, or the file cannot be written.
    """
    run = Saving(context, discovered, request)
    with run.stack:
        perform(PHASES, run)
    taken = datetime.fromtimestamp(run.backup.snapshot.taken, timezone.utc)
    size = request.path.stat().st_size
    context.report.note(
        f"{request.path} holds cluster {run.cluster} as it was at {taken:%Y-%m-%d %H:%M:%S} UTC, in {size:,} bytes; "
        "images, and output and results of jobs, are not in it"
    )
    if request.lock.kind == PLAIN:
        context.report.note(
            f"{request.path} is not encrypted: whoever reads it owns the cluster; --passphrase or --recipient encrypts"
        )
