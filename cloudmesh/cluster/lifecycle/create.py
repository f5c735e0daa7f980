"""A cluster is made, or one that was begun is finished; what is healthy is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cloudmesh.cluster.binaries.pinned import find_engine
from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.cluster_spec import ClusterSpec, check_server_count
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.model import ClusterInfo, Host
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local import container_config, local_hosts
from cloudmesh.cluster.lifecycle import inspection, install, plan, versions
from cloudmesh.cluster.lifecycle.installation import (
    Installation,
    all_hosts,
    first_server,
    other_hosts,
    pending_hosts,
    pending_servers,
    wiped_hosts,
)
from cloudmesh.cluster.lifecycle.phases import Phase, PlannedStep, checks, perform, planned_steps
from cloudmesh.cluster.providers.base import Provider

_UNDO = "kill"


@dataclass
class Creation(Installation):
    """One run of `create`.

    Attributes:
        servers: how many of the hosts are servers: 1, 3 or 5.
        version: of the engine, as the operator asks for it; empty: any.
    """

    servers: int = 1
    version: str = ""


def _plan(run: Creation) -> None:
    plan_servers(run, lambda servers: plan.new_spec(run.cluster, run.provider, run.facts, servers, version=run.version))


def plan_servers(run: Creation, begin: Callable[[Sequence[str]], ClusterSpec]) -> None:
    """Decide what the cluster is to be, by `begin` where none was begun, and which server is asked."""
    run.spec = plan.load_or_begin_spec(
        run.connections, run.facts, run.cluster, run.provider.kind, run.servers, begin, run.version
    )
    run.started = any(host_facts.engine_started for host_facts in run.facts.values())
    if not run.started and not run.spec.version:
        run.spec = replace(run.spec, version=find_engine(run.provider.kind).version)
    run.server = run.connections[plan.leading_host(run.facts, run.spec)]


def _preflight(run: Creation) -> None:
    plan.check_hosts(run.facts, run.provider, run.spec)
    plan.ensure_unique_name(run.context, run.spec.cluster, run.spec.id)
    find_pending(run)


def find_pending(run: Creation) -> None:
    """Find the hosts on which something is to be done, and name their nodes."""
    all_are_servers = len(run.facts) <= len(run.spec.servers)
    inspection.find_pending(run, servers_work=all_are_servers or len(run.spec.servers) == 1)
    versions.refuse_another(run.spec, run.version)
    inspection.name_nodes(run)


PHASES: tuple[Phase[Creation], ...] = (
    Phase("connect", "log in and become root", inspection.connect, all_hosts),
    Phase("lock", "let no other operator change the hosts meanwhile", inspection.lock_hosts, all_hosts),
    Phase("facts", "ask what the host is", inspection.gather_facts, all_hosts),
    Phase("plan", "decide what the host is to be; a cluster that was begun is gone on with", _plan, all_hosts),
    Phase("preflight", "find all that is wrong before any host is changed", _preflight, all_hosts),
    Phase("prepare", "install packages, start the container runtime", install.prepare, pending_hosts, _UNDO),
    Phase("registry", "start the image registry", install.start_registry, pending_servers, _UNDO),
    Phase("binaries", "send the engine's binaries to the registry", install.deliver_binaries, first_server, _UNDO),
    Phase("bootstrap", "start the engine, the first of the cluster", install.bootstrap, first_server, _UNDO),
    Phase("forget", "have the engine forget a host that was wiped", install.forget_wiped, wiped_hosts, _UNDO),
    Phase("join", "fetch the binaries, start the engine, join the cluster", install.join, other_hosts, _UNDO),
    Phase("ready", "wait until the engine calls the host ready", install.wait_until_ready, pending_hosts, _UNDO),
    Phase("tell", "tell the cluster's hosts which servers it has", install.tell_servers, all_hosts, _UNDO),
    Phase("images", "push the images that were asked for", install.deliver_images, first_server, _UNDO),
    Phase("volumes", "bring the cluster's volumes", install.mount_volumes, all_hosts, _UNDO),
)


@dataclass(frozen=True)
class Request:
    """What the operator asks of `create`.

    Attributes:
        cluster: the cluster's name.
        provider: of the kind wanted.
        hosts: servers first; none: local hosts are made, containers that stand for machines.
        servers: 1, 3 or 5.
        nodes: how many local hosts.
        debian: release of the local hosts, "12" or "13".
        images: names of our images that are built and delivered along the way.
        version: of the engine; empty: the newest that is meant for new clusters, or what the cluster has already.

    Raises:
        UsageError: the name is not valid, the number of servers does not fit the hosts, or there is no such version.
    """

    cluster: str
    provider: Provider
    hosts: Sequence[Host] = ()
    servers: int = 1
    nodes: int = 1
    debian: str = "13"
    images: Sequence[str] = ()
    version: str = ""

    def __post_init__(self) -> None:
        names.check(self.cluster, "cluster name")
        if self.version:
            find_engine(self.provider.kind, self.version)
        check_server_count(self.servers, len(self.hosts) or self.nodes)

    def start(self, context: Context, hosts: Sequence[Host]) -> Creation:
        """Return a run that makes the cluster of these hosts."""
        return Creation(
            context,
            self.provider,
            self.cluster,
            hosts,
            self.images,
            servers=self.servers,
            version=self.version,
        )


def create(context: Context, request: Request, phases: Sequence[Phase[Creation]] = PHASES) -> ClusterInfo:
    """Make a cluster, or finish one that was begun.

    Args:
        context: the operator's side.
        request: which cluster, of which hosts.
        phases: those of `restore`, where it is to begin as another one was.

    Raises:
        LockedError: another operator is changing the cluster or a host.
        HostsError: hosts that failed, each with its cause; the others are in.
    """
    hosts = request.hosts or local_hosts.create(
        request.cluster, request.nodes, debian=request.debian, report=context.report
    )
    return install.install_hosts(phases, request.start(context, hosts), "all hosts")


def plan_create(
    context: Context, request: Request, phases: Sequence[Phase[Creation]] = PHASES
) -> tuple[PlannedStep, ...]:
    """Return what `create` would do on each host; the hosts are looked at and nothing is changed.

    The arguments and errors are those of `create`.
    """
    if request.images or not request.hosts:
        docker_client.connect().close()  # there must be a daemon that builds images and runs local hosts
    hosts = request.hosts or local_hosts.find(request.cluster).get(request.cluster, ())
    if not request.hosts and len(hosts) < request.nodes:
        return _plan_local_hosts(context, request, hosts)
    run = request.start(context, hosts)
    with run.stack:
        perform(checks(phases), run)
        steps = planned_steps(phases, run)
        for host in run.pending:
            names_of_phases = ", ".join(step.phase for step in steps if step.host == str(host.host))
            context.report.note(
                f"{host.host}: would {names_of_phases} as {host.role} at {host.facts.address}, node {host.node}"
            )
        for image in request.images:
            context.report.note(f"{image}: would be built and delivered")
        return steps


def _plan_local_hosts(context: Context, request: Request, present: Sequence[Host]) -> tuple[PlannedStep, ...]:
    """Return that local hosts would be made; what they would become is known when they are there."""
    if not present:
        plan.ensure_unique_name(context, request.cluster)
    new = [container_config.name_of(request.cluster, number) for number in range(1, request.nodes + 1)]
    new = [name for name in new if name not in {host.name for host in present}]
    kind = request.provider.kind
    beside = f" beside {len(present)}" if present else ""
    context.report.note(
        f"would make {len(new)} local hosts of Debian {request.debian}{beside}, and of them a {kind} cluster"
    )
    return tuple(PlannedStep(name, "boot", "make a container and boot it", _UNDO) for name in new)
