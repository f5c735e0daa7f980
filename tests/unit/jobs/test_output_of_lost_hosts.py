"""Output and results on hosts that are down or gone: which host, and what of the job is lost; the rest is given."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine

from cloudmesh.cluster.core.context import Context, SshSettings
from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostsError, NotFoundError
from cloudmesh.cluster.core.model import JobStatus, Node, Role, State
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.jobs import results
from cloudmesh.cluster.jobs.service import JobService
from cloudmesh.cluster.providers.base import Chunk, ResultLocation, TaskHost
from cloudmesh.cluster.providers.open_cluster import OpenCluster
from cloudmesh.cluster.ssh.connection import ScriptResult

READY = Node("h1", "10.0.0.1", (Role.WORKER,), "ready", id="n1")
DOWN = Node("h2", "10.0.0.2", (Role.WORKER,), "down", contact="root@127.0.0.1:1", id="n2")
MISSING = Node("h3", "", (), "missing", id="n3")


class Engine(MemoryEngine):
    """An engine with one job, whose tasks ran on some nodes; `error` is what comes of reading the last one's output."""

    def __init__(self, *hosts: Node, error: ClusterError | None = None, state: State = State.SUCCEEDED) -> None:
        super().__init__()
        self.hosts, self.error, self.state = hosts, error, state

    def job(self, job_id: str) -> JobStatus:
        if job_id == "none":
            raise NotFoundError("no job none")
        return JobStatus(job_id, job_id, self.state)

    def output_hosts(self, job_id: str) -> tuple[TaskHost, ...]:
        return tuple(TaskHost(f"task-{number}", node) for number, node in enumerate(self.hosts))

    def logs(self, job_id: str, follow: bool, where: Callable[[str], bool] | None = None) -> Iterator[Chunk]:
        yield Chunk("stdout", b"what there is")
        if self.error:
            raise self.error


class Server:
    """A server to which output of nodes was moved."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.nodes = nodes

    def run(self, *_: object, **__: object) -> ScriptResult:
        return ScriptResult("", {"moved": "\n".join((*self.nodes, "none"))})

    def stream(self, *_: object, **__: object) -> Any:
        return nullcontext(io.BytesIO(b"stdout 5\nmoved"))


def read(engine: Engine, job_id: str = "pi", *, follow: bool = False, moved: Sequence[str] = ()) -> list[bytes]:
    """Return what `logs` gives, and behind it the error."""

    class Opened:
        context = spec = None
        server = Server(moved)
        discovered = SimpleNamespace(server_connections={"h1": server})

        def engine(self) -> Any:
            return nullcontext(engine)

    given: list[bytes] = []
    service = JobService(cast(OpenCluster, Opened()), cast(Any, None))
    try:
        service.logs(job_id, lambda chunk: given.append(chunk.data), follow=follow)
    except ClusterError as error:
        given.append(f"{error.exit_code}: {error}".encode())
    return given


def test_output_on_hosts_that_are_up_is_given_and_that_is_all() -> None:
    assert read(Engine(READY, READY)) == [b"what there is"]


@pytest.mark.parametrize("error", [None, NotFoundError("No path to node (HTTP 404)"), ApiError("no route")])
def test_the_host_that_is_down_is_named_with_what_is_there_and_the_rest_is_given(error: ClusterError | None) -> None:
    assert read(Engine(READY, DOWN, error=error)) == [
        b"what there is",
        b"1: h2: it is down, and the output of task-1 of job pi is there: start it, and ask again",
    ]


def test_the_host_that_was_removed_is_named_with_what_is_lost() -> None:
    assert read(Engine(MISSING, MISSING, error=NotFoundError("Unknown node")))[1:] == [
        b"1: h3: it is not in the cluster any more, and the output of task-0, task-1 of job pi is lost with it"
    ]


def test_what_has_moved_to_a_server_is_given_first_and_its_host_is_not_missed() -> None:
    assert read(Engine(READY, MISSING), moved=["n3", "n3/task-1"]) == [b"moved", b"what there is"]


def test_a_host_that_the_engine_has_not_missed_yet_is_asked_after() -> None:
    assert read(Engine(READY, error=NotFoundError("No path to node")))[1:] == [
        b"1: job pi: its output on h1 cannot be had now, is the host up? No path to node"
    ]


def test_a_job_of_which_only_the_end_is_known_has_lost_its_output() -> None:
    assert read(Engine())[1:] == [
        b"1: job pi: the engine has nothing of it any more but how it ended: its output is lost"
    ]


def test_a_job_that_runs_is_followed_though_a_host_of_it_is_down() -> None:
    assert read(Engine(DOWN, state=State.RUNNING), follow=True) == [b"what there is"]
    assert read(Engine(DOWN), follow=True)[1:] != []


def test_a_job_that_is_not_there_is_not_found() -> None:
    assert read(Engine(), "none") == [b"3: no job none"]


def test_results_on_a_host_that_is_down_or_gone_are_told_with_their_tasks(tmp_path: Path) -> None:
    context = Context(SshSettings(known_hosts=tmp_path / "known_hosts"), Silence(), "me@here")
    locations = [
        ResultLocation("a", DOWN, "/x"),
        ResultLocation("b", MISSING, "/x"),
        ResultLocation("c", MISSING, "/x"),
    ]
    with pytest.raises(HostsError) as caught:
        results.fetch(context, DiscoveredCluster("demo"), locations, tmp_path / "here")
    down, missing = (str(failure) for failure in caught.value.failures.values())
    assert down.startswith("h2: connection refused at 127.0.0.1 port 1")
    assert down.endswith("; what a left in $CMS_RESULTS is there: start it, and ask again")
    assert missing == "h3: it is not in the cluster any more, and what b, c left in $CMS_RESULTS is lost with it"
    assert caught.value.exit_code == 1
