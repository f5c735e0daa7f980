"""What remove and kill share: a host is cleaned of all that the cluster brought to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, connection_to, read_marker
from cloudmesh.cluster.ssh import parallel
from cloudmesh.cluster.ssh.parallel import Outcomes

_CLEAN_SECONDS = 600.0


def clean_hosts(
    context: Context, discovered: DiscoveredCluster, script: str, hosts: Sequence[Host], stack: ExitStack
) -> Outcomes[None]:
    """Run the verb clean of a provider's host script on hosts, in parallel; clusters are looked for there no more then.

    Args:
        context: the operator's side.
        discovered: the cluster, whose open connections are used.
        script: the provider's host script.
        hosts: to clean.
        stack: closes the connections that had to be opened.
    """

    def clean(host: Host) -> None:
        connection = connection_to(host, discovered, context, stack)
        # What the engine or a list says of a host may be old: it may be another cluster's by now.
        other = None if host in discovered.connections else read_marker(connection)
        if other and other.id != discovered.marker.id:
            context.report.note(f"{host} is of cluster {other.cluster} by now, and left as it is")
            return
        connection.run(script, "clean", timeout=_CLEAN_SECONDS, report=context.report)
        connection.forget()
        context.report.done(str(host), "clean")

    return parallel.run_on_hosts(clean, {host: host for host in hosts})
