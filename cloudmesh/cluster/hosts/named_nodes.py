"""Which nodes of a cluster the user means, by what `info` shows of them or by how SSH reaches them, and their hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ImageError, NotFoundError, UsageError
from cloudmesh.cluster.core.model import Host, Node
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, host_of
from cloudmesh.cluster.hosts.local import local_hosts

_LOOPBACK = "127.0.0.1"  # where sshd of every local host is


@dataclass
class NamedNodes:
    """The nodes of a cluster, to be found by name.

    Attributes:
        nodes: all that the engine has.
        discovered: the hosts of the cluster that answered.
        context: the operator's side.
    """

    nodes: Sequence[Node]
    discovered: DiscoveredCluster
    context: Context
    _local: dict[str, Host] | None = field(default=None, init=False)

    def find(self, host: Host) -> Node | None:
        """Return the node that `host`, as the user wrote it, means; None where it means none.

        What names it best counts, so that the SSH name of one node may be another one's name in the engine.
        """
        marker = self.discovered.markers.get(host)
        ways: tuple[Callable[[Node], bool], ...] = (
            lambda node: node.name == str(host),
            lambda node: node.node == str(host),
            lambda node: marker is not None and node.address == marker.address,
            lambda node: _contact(node) == (host.name, host.port or 22),
            lambda node: node.address == host.name,
            lambda node: host.name in (node.name, node.node) and host.port in (0, _contact(node)[1]),
        )
        return next((node for fits in ways for node in self.nodes if fits(node)), None)

    def find_all(self, hosts: Sequence[Host]) -> dict[Host, Node]:
        """Return the nodes that `hosts` mean, by how each is reached.

        Raises:
            NotFoundError: a host is none of this cluster's.
            UsageError: two of them mean the same node.
        """
        written: dict[str, Host] = {}
        nodes: dict[Host, Node] = {}
        for host in hosts:
            node = self.find(host)
            if node is None:
                names = ", ".join(map(describe, self.nodes))
                raise NotFoundError(f"{host} is not a host of cluster {self.discovered.cluster}: it has {names}")
            identity = node.id or node.address
            if identity in written:
                raise UsageError(f"{written[identity]} and {host} are the same host, given twice: name it once")
            written[identity] = host
            nodes[self.host_of(node, host)] = node
        return nodes

    def host_of(self, node: Node, written: Host) -> Host:
        """Return how the host of `node` is reached: as it answered, as a local host, as `written`, or as it joined."""
        if node.address in self.discovered.by_address:
            return self.discovered.by_address[node.address]
        if _contact(node)[0] == _LOOPBACK and self._may_be_local(node.name):
            return self.local_host(node.name) or Host(node.name, address=_LOOPBACK)  # whose container is gone
        is_name_in_engine = str(written) == node.node != node.name
        return host_of(node, self.context) if is_name_in_engine and node.contact else written

    def local_host(self, name: str) -> Host | None:
        """Return the local host of this cluster that is called so, also one that is stopped; None where there is none.

        Raises:
            ImageError: the Docker daemon, which would know, is silent.
        """
        if not self._may_be_local(name):
            return None
        if self._local is None:
            hosts = local_hosts.find(self.discovered.cluster).get(self.discovered.cluster, ())
            self._local = {host.name: host for host in hosts}
        return self._local.get(name)

    def _may_be_local(self, name: str) -> bool:
        return bool(re.fullmatch(rf"{re.escape(self.discovered.cluster)}-[0-9]+", name))


def reach(hosts: Sequence[Host], named: NamedNodes) -> tuple[Host, ...]:
    """Return `hosts` with those that mean a node, or a local host of the cluster, replaced by how these are reached."""
    return tuple(_reach(hosts, named))


def _reach(hosts: Sequence[Host], named: NamedNodes) -> Iterator[Host]:
    for host in hosts:
        if node := named.find(host):
            yield named.host_of(node, host)
            continue
        try:
            yield named.local_host(str(host)) or host
        except ImageError:
            yield host


def describe(node: Node) -> str:
    """Return a node as messages name it: the host as it was written, and its name in the engine where that differs."""
    return f"{node.name} (node {node.node})" if node.node not in ("", node.name) else node.name


def _contact(node: Node) -> tuple[str, int]:
    """Return address and port of a node's sshd, as it was reached when it joined; "" and 0 where nobody knows."""
    address, _, port = node.contact.rpartition("@")[2].rpartition(":")
    return address.strip("[]"), int(port) if port.isdecimal() else 0
