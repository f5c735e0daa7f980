"""When the certificates of hosts expire, and how far a rotation has come there, by the hosts' own files and clocks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.core.model import ClusterInfo, Host
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

SCRIPT = ("host/lib.sh", "host/certificates.sh")
_TIMEOUT = 30.0
_DAY = 86400.0
_NOTICE_DAYS = 30


class HostCertificates(NamedTuple):
    """What a host says of its certificates.

    Attributes:
        clock: its own, in seconds since the epoch.
        ends: when each of them ends, in seconds since the epoch, by its file; of several in one, when the first does.
        rotation: the id of the rotation that was here last, and how far it has come; empty: none was.
    """

    clock: float
    ends: Mapping[str, float]
    rotation: str = ""

    @property
    def first(self) -> tuple[str, float]:
        """The file of the certificate that ends first, and when that is."""
        return min(self.ends.items(), key=lambda item: item[1])


def read(connection: Connection) -> HostCertificates:
    """Return what a host says of its certificates.

    Raises:
        HostError: it gave no answer, has no certificate, or one that makes no sense.
    """
    facts = connection.run(host_script.load(*SCRIPT), "list", timeout=_TIMEOUT).facts
    try:
        pems = (line.partition(" ") for line in facts["certificate"].splitlines())
        ends = {name: certificates.earliest_end(base64.b64decode(pem)) for name, _, pem in pems}
        rotation = facts["rotation"]
        return HostCertificates(float(facts["clock"]), ends, "" if rotation == "none" else rotation)
    except (KeyError, ValueError, binascii.Error) as error:
        raise HostError(str(connection.host), f"its certificates make no sense: {error!r}") from error


def complete(info: ClusterInfo, connections: Mapping[str, tuple[Host, Connection]], report: Report) -> ClusterInfo:
    """Return `info` with when the certificates of its nodes expire, and tell of those that do soon.

    Args:
        info: of the cluster.
        connections: the hosts that are connected, by the addresses of their nodes; of others, it is not known.
        report: is told what expires soon, and which hosts do not say it.
    """
    outcomes = parallel.run_on_hosts(read, dict(connections.values()))
    for failure in outcomes.failures.values():
        report.note(str(failure))
    nodes = []
    for node in info.nodes:
        host, _ = connections.get(node.address, (None, None))
        if host is None or host not in outcomes.values:
            nodes.append(node)
            continue
        answer = outcomes.values[host]
        if notice := describe(answer):
            report.note(f"{node.name}: {notice}: `cms cluster rotate -n {info.name}` makes new ones")
        nodes.append(replace(node, expires=_format(answer.first[1])))
    return replace(info, nodes=tuple(nodes))


def describe(answer: HostCertificates) -> str:
    """Return what of a host expires soon or has expired, and when; empty: nothing does."""
    name, end = answer.first
    days = (end - answer.clock) / _DAY
    if days > _NOTICE_DAYS:
        return ""
    if days <= 0:
        return f"its certificate {name} has expired on {_format(end)}"
    return f"its certificate {name} expires in {days:.0f} days, on {_format(end)}"


def _format(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
