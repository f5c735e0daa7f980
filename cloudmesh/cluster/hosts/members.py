"""The list, on every server, of the hosts that were given something of the cluster; `kill` goes by it too.

What a cluster's hosts are is the engine's answer. This list has those beside them that an engine never came to know,
and all of them where the engine is silent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.core.cluster_spec import HostPlan
    from cloudmesh.cluster.ssh.connection import Connection

_SCRIPT = "host/members.sh"
_TIMEOUT = 30.0


class MemberList(NamedTuple):
    """What a server says of the cluster's hosts.

    Attributes:
        nodes: the hosts, whose status is unknown.
        engine_started: whether an engine of the cluster was started on this server.
        barred: addresses of hosts that were taken out and are kept out.
    """

    nodes: tuple[Node, ...]
    engine_started: bool
    barred: tuple[str, ...] = ()


def add(server: Connection, plans: Iterable[HostPlan], known: MemberList) -> None:
    """Note on a server that these hosts were given something of the cluster; it is done again without harm.

    Args:
        server: that keeps the list.
        plans: of the hosts.
        known: what another server has noted.
    """
    entries = {node.address: _describe(node.name, node.roles[0], node.contact, node.host_key) for node in known.nodes}
    entries |= {plan.facts.address: _describe(str(plan.host), plan.role, plan.contact, plan.host_key) for plan in plans}
    lines = host_script.lines(f"{address} {json.dumps(entry)}" for address, entry in entries.items())
    files = {"members": lines, "barred": host_script.lines(known.barred)}
    server.run(host_script.load(_SCRIPT), "add", files=files, timeout=_TIMEOUT)


def drop(server: Connection, addresses: Iterable[str]) -> None:
    """Note on a server that the hosts at these addresses have nothing of the cluster any more."""
    server.run(host_script.load(_SCRIPT), "drop", files={"members": host_script.lines(addresses)}, timeout=_TIMEOUT)


def bar(server: Connection, addresses: Iterable[str]) -> None:
    """Have a server let in nothing from the hosts at these addresses, until they join again or are clean.

    Raises:
        HostError: it cannot do that.
    """
    server.run(host_script.load(_SCRIPT), "bar", files={"members": host_script.lines(addresses)}, timeout=_TIMEOUT)


def read(server: Connection) -> MemberList:
    """Return what a server has noted.

    Raises:
        HostError: it gave no answer, or one that makes no sense.
    """
    facts = server.run(host_script.load(_SCRIPT), "list", timeout=_TIMEOUT).facts
    try:
        lines = [line for line in facts["member"].splitlines() if line != "none"]
        barred = tuple(facts.get("barred", "").split())
        return MemberList(tuple(map(_parse, lines)), facts["engine"] == "started", barred)
    except (KeyError, TypeError, ValueError) as error:
        raise HostError(str(server.host), f"its list of the cluster's hosts makes no sense: {error!r}") from error


def _describe(name: str, role: Role, contact: str, host_key: str) -> dict[str, str]:
    return {"name": name, "role": str(role), "contact": contact, "host_key": host_key}


def _parse(line: str) -> Node:
    address, _, text = line.partition(" ")
    fields = json.loads(text)
    role = Role(fields["role"])
    return Node(fields["name"], address, (role,), "unknown", contact=fields["contact"], host_key=fields["host_key"])
