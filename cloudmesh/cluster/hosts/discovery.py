"""Finds clusters by asking hosts which cluster they belong to; this program stores no list of clusters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostsError, ImageError, NotFoundError
from cloudmesh.cluster.core.model import Host, Marker, Node
from cloudmesh.cluster.core.names import list_short
from cloudmesh.cluster.hosts import marker
from cloudmesh.cluster.hosts.local import local_hosts
from cloudmesh.cluster.ssh import host_list, host_script, known_hosts, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_TIMEOUT = 20.0
_AT_ONCE = 512  # hosts that are asked at the same time: one that is gone takes 10 s
_PATIENCE_SECONDS = 4.0
_NAMED = 5
_EXPLAINED = 3  # errors of hosts in a message
_LISTED = 10  # hosts that were asked, in a message


@dataclass
class DiscoveredCluster(AbstractContextManager["DiscoveredCluster"]):
    """The hosts of one cluster that answered. As a context manager, it closes the connections at the end.

    Attributes:
        cluster: the cluster's name.
        markers: the marker of every host that answered.
        connections: an open connection to every host that answered.
        unreachable: the errors of hosts that were asked and did not answer, by their names; they may be of any cluster.
    """

    cluster: str
    markers: dict[Host, Marker] = field(default_factory=dict)
    connections: dict[Host, Connection] = field(default_factory=dict)
    unreachable: Mapping[str, ClusterError] = field(default_factory=dict)

    def __exit__(self, *_: object) -> None:
        close(self.connections.values())

    @property
    def marker(self) -> Marker:
        """The newest marker: one host, which was away when servers came or went, may have an older list of them."""
        return max(self.markers.values(), key=lambda host_marker: host_marker.generation)

    @property
    def servers(self) -> dict[Host, Marker]:
        """The markers of the servers that answered, in the order in which the cluster lists its servers."""
        order, hosts = self.marker.servers if self.markers else (), self.by_address
        return {hosts[address]: self.markers[hosts[address]] for address in order if address in hosts}

    @property
    def server_connections(self) -> dict[Host, Connection]:
        """The connections to the servers that answered, in the same order."""
        return {host: self.connections[host] for host in self.servers}

    @property
    def by_address(self) -> dict[str, Host]:
        """The hosts that answered, by their addresses within the cluster."""
        return {marker.address: host for host, marker in self.markers.items()}

    def as_nodes(self) -> tuple[Node, ...]:
        """Return the hosts as nodes of status "unknown", for use where the engine does not answer."""
        return tuple(
            Node(str(host), marker.address, (marker.role,), "unknown", node=marker.node)
            for host, marker in self.markers.items()
        )

    def list_servers(self) -> list[Connection]:
        """Return the connections to the servers that answered.

        Raises:
            ClusterError: no server answered.
        """
        if servers := list(self.server_connections.values()):
            return servers
        raise ClusterError(
            f"no server of cluster {self.cluster} answers (they are {', '.join(self.marker.servers)}): start one, "
            "or name it with --hosts"
        )


def find(context: Context, cluster: str) -> DiscoveredCluster:
    """Return the cluster called `cluster`. Hosts that are only in the known_hosts file are asked last, if at all.

    Raises:
        NotFoundError: none of the hosts belongs to it.
        HostsError: the operator named hosts, and none of them answered.
        ImageError: the Docker daemon is silent, so that the cluster may be one of local hosts.
        ClusterError: there are two clusters of that name; or none of the hosts that answered belongs to it, but others
            did not answer.
    """
    unreachable: dict[str, ClusterError] = {}
    candidates = list_candidates(context)
    for survey in _survey_by_turns(context, candidates):
        unreachable |= survey.unreachable
        matches = [discovered for discovered in survey.clusters if discovered.cluster == cluster]
        if survey.silent and not any(discovered.servers for discovered in matches):
            matches = []  # they are asked once more, and a server may be among the silent ones
        for discovered in survey.clusters:  # only a single match stays connected
            if matches != [discovered]:
                close(discovered.connections.values())
        if len(matches) > 1:
            where = " and ".join(str(next(iter(discovered.markers))) for discovered in matches)
            raise ClusterError(
                f"there are two clusters called {cluster} (on {where}): name the hosts of one by --hosts"
            )
        if matches:
            matches[0].unreachable = unreachable
            return matches[0]
    named = {str(host) for host in context.hosts}
    if named and named <= set(unreachable):
        raise HostsError({name: unreachable[name] for name in sorted(named)})
    if candidates.docker_silence:
        raise ImageError(
            f"cluster {cluster} may be one of local hosts, which could not be asked for: {candidates.docker_silence}"
        )
    # A local host that is stopped, and was made for another cluster, leaves no doubt.
    others = {name for name, made_for in candidates.made_for.items() if made_for != cluster and name in unreachable}
    hosts = [host for host in (*candidates.near, *candidates.far) if str(host) not in others]
    raise _not_found(cluster, hosts, {name: error for name, error in unreachable.items() if name not in others})


def _survey_by_turns(context: Context, candidates: Candidates) -> Iterator[_Survey]:
    """Ask the near hosts, then the far ones, and these again where some of them need longer to answer."""
    yield _survey_hosts(context, candidates.near)
    survey = _survey_hosts(context, candidates.far, _PATIENCE_SECONDS)
    yield survey
    if survey.silent:
        yield _survey_hosts(context, candidates.far)


def find_all(context: Context) -> list[DiscoveredCluster]:
    """Return every cluster to which a host that answered belongs, sorted by name.

    Raises:
        HostsError: the operator named hosts, none of them answered, and no cluster was discovered on other hosts.
    """
    candidates = list_candidates(context)
    survey = _survey_hosts(context, (*candidates.near, *candidates.far), _PATIENCE_SECONDS)
    _note_silence(context, candidates.far, survey)
    if candidates.docker_silence:
        context.report.note(f"local hosts could not be asked for: {candidates.docker_silence}")
    named = {str(host) for host in context.hosts}
    if named and named <= set(survey.unreachable) and not survey.clusters:
        raise HostsError({name: survey.unreachable[name] for name in sorted(named)})
    return survey.clusters


def _note_silence(context: Context, far: Sequence[Host], survey: _Survey) -> None:
    """Say which of the hosts that only our known_hosts file names gave no answer: a cluster may be on them."""
    without_answer = [str(host) for host in far if host in survey.silent or str(host) in survey.unreachable]
    if without_answer:
        count = f"{len(without_answer)} hosts" if len(without_answer) > 1 else "a host"
        context.report.note(
            f"no answer from {count} used before, {list_short(without_answer, _NAMED)}: name "
            f"one by --hosts to wait for it; those that are gone can be taken out of {context.settings.known_hosts}"
        )


@dataclass(frozen=True)
class Candidates:
    """The hosts that may belong to a cluster.

    Attributes:
        near: those that the operator named, and local hosts.
        far: others of the known_hosts file.
        made_for: the clusters that local hosts were made for, by the names of these hosts.
        docker_silence: why it is not known which local hosts there are; None where it is known.
    """

    near: tuple[Host, ...]
    far: tuple[Host, ...]
    made_for: Mapping[str, str]
    docker_silence: ImageError | None = None


def list_candidates(context: Context) -> Candidates:
    """Return the hosts to ask which cluster they belong to."""
    local: dict[str, Host] = {}
    made_for: dict[str, str] = {}
    docker_silence = None
    try:
        for cluster, hosts in local_hosts.find().items():
            local |= {str(host): host for host in hosts}
            made_for |= dict.fromkeys(map(str, hosts), cluster)
    except ImageError as error:
        docker_silence = error
    near = dict.fromkeys([*(local.get(str(host), host) for host in context.hosts), *local.values()])
    far = [host for host in known_hosts.hosts(context.settings.known_hosts) if host not in near]
    return Candidates(tuple(near), tuple(far), made_for, docker_silence)


@dataclass(frozen=True)
class _Survey:
    """What hosts have said.

    Attributes:
        clusters: to which those that answered belong, sorted by name.
        unreachable: the errors of hosts that could not be asked, by their names.
        silent: hosts that were not waited for.
    """

    clusters: list[DiscoveredCluster]
    unreachable: Mapping[str, ClusterError]
    silent: Sequence[Host] = ()


def _survey_hosts(context: Context, hosts: Sequence[Host], patience: float | None = None) -> _Survey:
    """Ask hosts which cluster they belong to. Hosts that belong to a cluster stay connected.

    Args:
        context: the operator's side.
        hosts: to ask, all at once.
        patience: seconds after the last answer for which hosts are waited for that the operator did not name; None: as
            long as it takes.
    """
    waited_for = {host for host in hosts if host in context.hosts or host.address}
    over = threading.Event()
    try:
        answers = parallel.run_on_hosts(
            lambda host: _ask(host, context, over.is_set),
            {host: host for host in hosts},
            limit=_AT_ONCE,
            patience=patience,
            waited_for=waited_for,
            discard=lambda answer: answer[0].close(),
        )
    finally:
        over.set()  # those that are silent are tried in no other way
    clusters: dict[tuple[str, str], DiscoveredCluster] = {}
    for host, (connection, host_marker) in answers.values.items():
        if host_marker is None:
            connection.forget()
            connection.close()
            continue
        key = (host_marker.cluster, host_marker.id)
        discovered = clusters.setdefault(key, DiscoveredCluster(host_marker.cluster))
        if host_marker.address in discovered.by_address:
            connection.close()  # the same machine under a second name
            continue
        discovered.markers[host] = host_marker
        discovered.connections[host] = connection
    for host in context.hosts:
        if str(host) in answers.failures:
            context.report.note(f"not asked: {answers.failures[str(host)]}")
    return _Survey([clusters[key] for key in sorted(clusters)], answers.failures, answers.silent)


def close(connections: Iterable[Connection]) -> None:
    """Close every connection."""
    for connection in list(connections):
        connection.close()


def _ask(host: Host, context: Context, is_given_up: Callable[[], bool]) -> tuple[Connection, Marker | None]:
    """Connect to a host, and return the connection and the host's marker, which is None if it has none."""
    from cloudmesh.cluster.ssh.connect import connect

    connection = connect(host, context.settings, is_given_up=is_given_up)
    try:
        return connection, read_marker(connection)
    except BaseException:
        connection.close()
        raise


def read_marker(connection: Connection) -> Marker | None:
    """Return the marker of a host; None where it says that it has none.

    Raises:
        HostError: the host gave no answer.
        ClusterError: its marker is damaged.
    """
    text = connection.ask(host_script.load("host/member.sh"), "marker", timeout=_TIMEOUT)
    return None if text == "none" else marker.loads(text)


def _not_found(cluster: str, hosts: Sequence[Host], unreachable: Mapping[str, ClusterError]) -> ClusterError:
    """Return what to raise where none of the hosts that answered belongs to a cluster: others may."""
    if not hosts:
        return NotFoundError(f"no cluster called {cluster}: there is no host to ask; name one with --hosts")
    remedy = "name one of its hosts with --hosts"
    asked = [str(host) for host in hosts if str(host) not in unreachable]
    where = f"none of the hosts asked belongs to it ({', '.join(asked[:_LISTED])})"
    if not unreachable:
        return NotFoundError(f"no cluster called {cluster}: {where}; {remedy}")
    causes = [str(error) for error in list(unreachable.values())[:_EXPLAINED]]
    if len(unreachable) > _EXPLAINED:
        causes.append(f"and {len(unreachable) - _EXPLAINED} more")
    silent = f"{where}, and others" if asked else "the hosts asked"
    return ClusterError(
        f"whether there is a cluster called {cluster} is not known: {silent} did not answer: {'; '.join(causes)}; "
        f"{remedy}"
    )


def host_of(node: Node, context: Context) -> Host:
    """Return the host of a node as the operator reached it when it joined, for a node that was not asked directly."""
    hosts = host_list.parse_hosts(node.contact, user=context.user, port=context.port, key=context.key)
    (host,) = known_hosts.complete(hosts, context.settings.known_hosts)
    return replace(host, host_key=node.host_key)


def hosts_of(nodes: Sequence[Node], discovered: DiscoveredCluster, context: Context) -> dict[Host, Node]:
    """Return the nodes by host: the host that answered at a node's address, else as it was reached when it joined."""
    hosts = discovered.by_address
    return {hosts.get(node.address) or host_of(node, context): node for node in nodes}


def connection_to(host: Host, discovered: DiscoveredCluster, context: Context, stack: ExitStack) -> Connection:
    """Return the open connection of `discovered` to a host, else a new connection that `stack` closes."""
    from cloudmesh.cluster.ssh.connect import connect

    if host in discovered.connections:
        return discovered.connections[host]
    connection = connect(host, context.settings)
    stack.callback(connection.close)
    return connection
