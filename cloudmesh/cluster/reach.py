"""The hosts of a cluster by SSH, also those that only its engine has told of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cloudmesh.cluster.context import Context
from cloudmesh.cluster.finder import Membership
from cloudmesh.cluster.hosts import address
from cloudmesh.cluster.model import Host, Node

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection


def host_of(node: Node, context: Context) -> Host:
    """Return how the operator reaches a node that only the engine has told of, as it was reached when it joined."""
    (host,) = address.parse(node.contact, user=context.user, port=context.port, key=context.key)
    return Host(host.name, host.user, host.port, host.key, host_key=node.host_key)


def hosts_of(nodes: Sequence[Node], membership: Membership, context: Context) -> dict[Host, Node]:
    """Return each node by its host: as it answered already, else as it was reached when it joined."""
    known = membership.by_address
    return {known.get(node.address) or host_of(node, context): node for node in nodes}


def connection_to(host: Host, membership: Membership, context: Context, stack: ExitStack) -> Connection:
    """Return the connection to a host: the one that is open, else a new one that `stack` closes."""
    from cloudmesh.cluster.hosts.ssh import connect

    if host in membership.connections:
        return membership.connections[host]
    connection = connect(host, context.settings)
    stack.callback(connection.close)
    return connection
