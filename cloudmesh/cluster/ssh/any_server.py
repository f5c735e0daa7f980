"""What every server of a cluster has is asked of the first one that answers; those that do not are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from cloudmesh.cluster.core.errors import ClusterError, HostError
from cloudmesh.cluster.core.report import Report

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What was opened on a server.

    Attributes:
        opened: that.
        server: the connection to the server.
        silent: those that were asked before, in vain.
    """

    opened: T
    server: Connection
    silent: Sequence[Connection]


def open_answering(
    servers: Iterable[Connection],
    open_on: Callable[[Connection], AbstractContextManager[T]],
    stack: ExitStack,
    report: Report,
    *,
    fault: type[ClusterError],
    nobody: str,
) -> Answer[T]:
    """Open something on the first server on which that succeeds.

    Args:
        servers: connections to the servers, in the order in which they are asked.
        open_on: opens it on a server, and raises `fault`, or HostError, where it does not answer there.
        stack: closes it.
        report: is told which servers do not answer, once one does.
        fault: the error that says that it does not answer.
        nobody: what is said where it answers on none, before the causes.

    Raises:
        ClusterError: a `fault`, where it answers on none of them.
    """
    silent: dict[str, Connection] = {}
    for server in servers:
        try:
            opened = stack.enter_context(open_on(server))
        except (fault, HostError) as error:
            silent[f"{server.host}: {error}" if isinstance(error, fault) else str(error)] = server
        else:
            for failure in silent:
                report.note(f"{failure}; {server.host} is asked instead")
            return Answer(opened, server, list(silent.values()))
    raise fault(f"{nobody}: {'; '.join(silent)}")
