"""Where tasks have left results of which the engine knows no more: the hosts themselves are asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from cloudmesh.cluster.api import Results
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ClusterError
from cloudmesh.cluster.finder import Membership
from cloudmesh.cluster.hosts import fleet, script
from cloudmesh.cluster.model import Host
from cloudmesh.cluster.reach import connection_to, hosts_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ATTEMPT = re.compile(rf"(\d+(?:\.\d*)?) ({NAME.pattern})/({NAME.pattern})")


class _Attempt(NamedTuple):
    when: float
    results: Results


def located(
    context: Context, membership: Membership, found: Sequence[Results]
) -> tuple[list[Results], Mapping[str, ClusterError]]:
    """Return where each task has left its results, in its last attempt, and why hosts could not be asked.

    Args:
        context: the operator's side.
        membership: the cluster.
        found: what the engine says; hosts are asked about those without a task.
    """
    unknown = {each.node: each for each in found if not each.task}
    hosts = hosts_of(list(unknown), membership, context)
    with ExitStack() as stack:

        def ask(host: Host) -> list[_Attempt]:
            connection = connection_to(host, membership, context, stack)
            its = unknown[hosts[host]]
            answer = connection.run(script.load("host/attempts.sh"), files={"path": its.path.encode()})
            return list(_attempts(its, answer.facts.get("attempt", "")))

        outcomes = fleet.each(ask, {host: host for host in hosts})
    every = (attempt for attempts in outcomes.values.values() for attempt in attempts)
    last = {each.results.task: each.results for each in sorted(every, key=lambda each: each.when)}
    return [*(each for each in found if each.task and each.task not in last), *last.values()], outcomes.failures


def _attempts(of: Results, lines: str) -> Iterator[_Attempt]:
    for line in lines.splitlines():
        if told := _ATTEMPT.fullmatch(line):
            seconds, task, attempt = told.groups()
            yield _Attempt(float(seconds), Results(task, of.node, f"{of.path}/{task}/{attempt}"))
