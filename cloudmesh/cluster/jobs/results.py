"""Copies the results directories of jobs from the hosts that ran them; see `result_copy.py` for those of one task."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError, UnreachableError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, connection_to, hosts_of
from cloudmesh.cluster.jobs.lost_hosts import explain
from cloudmesh.cluster.jobs.result_copy import CopySummary, TaskCopy
from cloudmesh.cluster.providers.base import MISSING, ResultLocation
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection


def fetch(
    context: Context,
    discovered: DiscoveredCluster,
    locations: Sequence[ResultLocation],
    target: Path,
    *,
    moved: Sequence[tuple[Connection, ResultLocation]] = (),
) -> CopySummary:
    """Copy the results of a job's tasks into `target`, those of each task into a folder with the task's name.

    A file that exists with the same content counts as copied, and a large one that was begun is gone on with, so the
    next run completes one that was interrupted. No file gets its name before it is complete and its checksum has been
    verified. What cannot be copied safely is left out, and the report is told of each.

    Args:
        context: the operator's side.
        discovered: the cluster.
        locations: where the tasks left their results.
        target: a folder; it is made when there is something to copy.
        moved: what servers have of hosts that left the cluster; of a task that is among `locations` too, those count.

    Raises:
        HostsError: some hosts could not be reached, files were damaged on the way, or a file here has another content.
            The results of all other hosts have been copied.
    """
    located, failures = locate_results(context, discovered, locations)
    by_node = defaultdict(list)
    for location in located:
        by_node[location.node].append(location)
    missing = {node: explain(node, _describe(by_node[node])) for node in by_node if node.status == MISSING}
    hosts = hosts_of([node for node in by_node if node not in missing], discovered, context)
    with ExitStack() as stack:

        def copy_from(host: Host) -> CopySummary:
            connection = connection_to(host, discovered, context, stack)
            summaries = (_copy_task(connection, task, target, context.report) for task in by_node[hosts[host]])
            summary = sum(summaries, CopySummary())
            context.report.done(str(host), f"{summary.files} files")
            return summary

        outcomes = parallel.run_on_hosts(copy_from, {host: host for host in hosts})
        summary = sum(outcomes.values.values(), CopySummary())
        names = {location.task for location in located}
        for server, location in moved:
            if location.task not in names:
                summary += _copy_task(server, location, target, context.report)
    failures = {**failures, **outcomes.failures, **{node.name: error for node, error in missing.items()}}
    for host, node in hosts.items():
        if isinstance(error := failures.get(str(host)), UnreachableError):
            cause = f"{error.cause}; {_describe(by_node[node])} is there: start it, and ask again"
            failures[str(host)] = UnreachableError(node.name, cause)
    if failures:
        raise HostsError(failures)
    return summary


def _describe(locations: Sequence[ResultLocation]) -> str:
    return f"what {', '.join(location.task for location in locations)} left in $CMS_RESULTS"


def _copy_task(connection: Connection, results: ResultLocation, target: Path, report: Report) -> CopySummary:
    """Copy the results of one task.

    Raises:
        HostError: the task's name is unsafe, or some of its files are in the way here, or did not arrive.
    """
    host = str(connection.host)
    if not NAME.fullmatch(results.task):
        raise HostError(host, f"the engine calls a task {results.task[:60]!a}, which is no name for a folder")
    summary = TaskCopy(connection, results.task, results.path, target / results.task, report).run()
    for refused in summary.refused:
        report.note(f"{host}: left out: {refused}")
    return summary


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ATTEMPT = re.compile(rf"(\d+(?:\.\d*)?) ({NAME.pattern})/({NAME.pattern})")


class _Attempt(NamedTuple):
    """An attempt of a task: when its folder last changed, in seconds since the epoch, and where its results are."""

    changed: float
    results: ResultLocation


def locate_results(
    context: Context, discovered: DiscoveredCluster, locations: Sequence[ResultLocation]
) -> tuple[list[ResultLocation], Mapping[str, ClusterError]]:
    """Find out where the last attempt of each task left its results.

    Args:
        context: the operator's side.
        discovered: the cluster.
        locations: what the engine says. Where a location has no task, the host is asked which tasks left results there.

    Returns:
        One location for each task, and the errors of hosts that could not be asked, by host.
    """
    without_task = {location.node: location for location in locations if not location.task}
    hosts = hosts_of(list(without_task), discovered, context)
    with ExitStack() as stack:

        def list_attempts(host: Host) -> list[_Attempt]:
            connection = connection_to(host, discovered, context, stack)
            location = without_task[hosts[host]]
            answer = connection.run(host_script.load("host/attempts.sh"), files={"path": location.path.encode()})
            if "attempt" not in answer.facts:
                raise HostError(str(host), "the host gave no answer when it was asked for results")
            return list(_parse_attempts(location, answer.facts["attempt"]))

        outcomes = parallel.run_on_hosts(list_attempts, {host: host for host in hosts})
    attempts = [attempt for of_host in outcomes.values.values() for attempt in of_host]
    last = {attempt.results.task: attempt.results for attempt in sorted(attempts, key=lambda attempt: attempt.changed)}
    named = [location for location in locations if location.task and location.task not in last]
    return [*named, *last.values()], outcomes.failures


def _parse_attempts(location: ResultLocation, lines: str) -> Iterator[_Attempt]:
    """Yield the attempts that a host lists below `location`, a line "SECONDS TASK/ATTEMPT" each."""
    for line in lines.splitlines():
        if match := _ATTEMPT.fullmatch(line):
            seconds, task, attempt = match.groups()
            results = ResultLocation(task, location.node, f"{location.path}/{task}/{attempt}")
            yield _Attempt(float(seconds), results)
