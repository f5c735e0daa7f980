"""What a host that leaves the cluster has of jobs: it moves to a server, where `logs` and `get` find it.

`cloudmesh/images/host/moved.sh` is the server's side. What was not moved as a whole counts as not moved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError
from cloudmesh.cluster.core.model import Host, Node, Role
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, connection_to
from cloudmesh.cluster.jobs.results import locate_results
from cloudmesh.cluster.providers.base import Chunk, Engine, ResultLocation, missing_node
from cloudmesh.cluster.providers.open_cluster import OpenCluster
from cloudmesh.cluster.ssh import host_script, parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_ROOT = "/var/lib/cloudmesh/moved"
_PIECE_BYTES = 1 << 18
# For all of it; a host that has gone is noticed before.
_MOVE_SECONDS, _SILENCE_SECONDS = 86_400.0, 300.0


class MovedData(NamedTuple):
    """What a server has of a job that ran on a host which left.

    Attributes:
        server: a connection to it.
        node_id: the engine's id of the node that the host was.
        tasks: those whose results are there.
    """

    server: Connection
    node_id: str
    tasks: tuple[str, ...]


def move(
    opened: OpenCluster, engine: Engine, jobs_by_host: Mapping[Host, tuple[Node, Sequence[str]]]
) -> dict[Host, ClusterError]:
    """Copy what hosts have of jobs to the server that the cluster was opened by, of servers also what was moved there.

    What is there of jobs that the engine has no more is removed.

    Args:
        opened: the cluster.
        engine: its engine.
        jobs_by_host: the node that each host is, and the jobs that ran there; none of their tasks does any more.

    Returns:
        What went wrong, by host: for example, the server's disk is full.
    """
    if not jobs_by_host:
        return {}
    _run(opened.server, "prune", {"jobs": host_script.lines(_quote(job.id) for job in engine.jobs())})
    with ExitStack() as stack:

        def move_from(host: Host) -> None:
            node, job_ids = jobs_by_host[host]
            source = connection_to(host, opened.discovered, opened.context, stack)
            if Role.SERVER in node.roles:
                _copy(source, _ROOT, opened.server, "adopt", {})
            for job_id in job_ids:
                opened.context.report.step(str(host), f"move output and results of {job_id} to {opened.server.host}")
                _move_job(opened, engine, node, source, job_id)

        failures = parallel.run_on_hosts(move_from, {host: host for host in jobs_by_host}).failures
    return {host: failures[str(host)] for host in jobs_by_host if str(host) in failures}


def _move_job(opened: OpenCluster, engine: Engine, node: Node, source: Connection, job_id: str) -> None:
    place = {"place": f"{_quote(job_id)}/{_quote(node.id)}".encode()}
    _run(opened.server, "begin", place)
    there = [location for location in engine.results(job_id) if location.node.id == node.id]
    located, failures = locate_results(opened.context, opened.discovered, there)
    if failures:
        raise HostsError(failures)
    for location in located:
        _copy(source, location.path, opened.server, "results", {**place, "task": _quote(location.task).encode()})
    _run(opened.server, "output", place, _frame(engine.logs(job_id, follow=False, where=node.id.__eq__)))
    _run(opened.server, "finish", place)


def _copy(source: Connection, path: str, server: Connection, verb: str, files: dict[str, bytes]) -> None:
    """Send a directory of a host to a server, which takes it by a verb of the script."""
    failure = None
    with source.stream(_script(), "send", files={"path": path.encode()}, silence=_SILENCE_SECONDS) as archive:
        try:
            _run(server, verb, files, iter(partial(archive.read, _PIECE_BYTES), b""))
        except HostError as error:
            if archive.read(1):
                raise
            failure = error  # where the source failed as well, what it says tells more
    if failure:
        raise failure


def find(discovered: DiscoveredCluster, job_id: str) -> tuple[MovedData, ...]:
    """Return what the servers that answered have of a job.

    Raises:
        HostError: one of them gave no answer to this.
    """
    servers = discovered.server_connections
    answers = parallel.run_on_hosts(lambda server: _find_on(server, job_id), servers).or_raise()
    return tuple(entry for host in servers for entry in answers[host])


def _find_on(server: Connection, job_id: str) -> tuple[MovedData, ...]:
    answer = server.run(_script(), "list", files={"job": _quote(job_id).encode()})
    if "moved" not in answer.facts:
        raise HostError(str(server.host), "the server gave no answer when it was asked for what was moved to it")
    tasks: dict[str, list[str]] = {}
    for line in answer.facts["moved"].splitlines()[:-1]:
        node_id, _, task = line.partition("/")
        tasks.setdefault(unquote(node_id), []).extend([unquote(task)] if task else [])
    return tuple(MovedData(server, node_id, tuple(names)) for node_id, names in tasks.items())


def read_output(job_id: str, moved: MovedData) -> Iterator[Chunk]:
    """Yield the output that was moved to a server."""
    server = moved.server
    place = f"{_quote(job_id)}/{_quote(moved.node_id)}".encode()
    with server.stream(_script(), "read", files={"place": place}) as stream:
        while header := stream.readline():
            name, size = header.decode().split()
            left = int(size)
            while left:
                piece = stream.read(min(left, _PIECE_BYTES))
                if not piece:
                    raise HostError(str(server.host), f"what was moved to it of job {job_id} is cut short")
                left -= len(piece)
                yield Chunk(name, piece)


def result_locations(job_id: str, moved: Iterable[MovedData]) -> list[tuple[Connection, ResultLocation]]:
    """Return where servers have results of a job that were moved there; the nodes are those that they come from."""
    return [
        (
            entry.server,
            ResultLocation(
                task,
                missing_node(entry.node_id, entry.node_id),
                f"{_ROOT}/{_quote(job_id)}/{_quote(entry.node_id)}/results/{_quote(task)}",
            ),
        )
        for entry in moved
        for task in entry.tasks
    ]


def is_moved(location: ResultLocation, moved: Collection[MovedData]) -> bool:
    """Return whether the results of a task are on a server, and not where the engine says."""
    return any(location.node.id == entry.node_id and location.task in entry.tasks for entry in moved)


def _frame(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    for chunk in chunks:
        yield f"{chunk.stream} {len(chunk.data)}\n".encode() + chunk.data


def _run(server: Connection, verb: str, files: dict[str, bytes], stdin: Iterable[bytes] = ()) -> None:
    server.run(_script(), verb, files=files, stdin=stdin, timeout=_MOVE_SECONDS)


def _script() -> str:
    return host_script.load("host/moved.sh")


def _quote(name: str) -> str:
    """Return a name as one for a file: without a slash, and with no dot at its beginning."""
    return quote(name, safe="").replace(".", "%2E")
