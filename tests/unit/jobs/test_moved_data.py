"""What a host that leaves had of jobs is on a server afterwards, whole, or not at all. A real sshd."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine
from support.sshd import MARKS, Sshd, home, server

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.model import Host, JobStatus, Node, Role, State
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.jobs import moved_data
from cloudmesh.cluster.jobs.results import fetch
from cloudmesh.cluster.providers.base import Chunk, ResultLocation
from cloudmesh.cluster.ssh import host_script
from cloudmesh.cluster.ssh.connect import connect
from cloudmesh.cluster.ssh.connection import Connection

__all__ = ["home", "server"]
pytestmark = MARKS

NODE = Node("h2", "10.0.0.2", (Role.WORKER,), "ready", id="n/2", node="h2")
CHUNKS = [Chunk("stdout", b"one\n"), Chunk("stderr", b"\xff\x00\n::fail no\n"), Chunk("stdout", os.urandom(700_000))]


class Engine(MemoryEngine):
    """An engine with jobs of one task each, which wrote results below a folder."""

    def __init__(self, folder: Path, *job_ids: str) -> None:
        super().__init__()
        self.folder, self.job_ids = folder, job_ids

    def jobs(self) -> tuple[JobStatus, ...]:
        return tuple(JobStatus(job_id, "j", State.SUCCEEDED) for job_id in self.job_ids)

    def results(self, job_id: str) -> tuple[ResultLocation, ...]:
        return (ResultLocation(f"{job_id}-0", NODE, f"{self.folder}/{job_id}"),)

    def logs(self, job_id: str, follow: bool, where: Callable[[str], bool] | None = None) -> Iterator[Chunk]:
        assert where
        assert where(NODE.id)
        assert not where("another")
        yield from CHUNKS


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the script and what reads its files look below a folder of the test; return it."""
    load, root = host_script.load, tmp_path / "moved"
    monkeypatch.setattr(host_script, "load", lambda *names: load(*names).replace("/var/lib/cloudmesh/moved", str(root)))
    monkeypatch.setattr(moved_data, "_ROOT", str(root))
    return root


@pytest.fixture
def connection(server: Sshd) -> Iterator[Connection]:
    with connect(server.host(), server.settings()) as connection:
        yield connection


def move(connection: Connection, engine: Engine, *job_ids: str) -> dict[Host, Any]:
    opened = SimpleNamespace(
        server=connection,
        context=Context(cast(Any, None), Silence(), "me@here"),
        discovered=SimpleNamespace(connections={connection.host: connection}, by_address={}),
    )
    return moved_data.move(cast(Any, opened), engine, {connection.host: (NODE, job_ids)})


def find(connection: Connection, job_id: str) -> tuple[moved_data.MovedData, ...]:
    discovered = SimpleNamespace(server_connections={connection.host: connection})
    return moved_data.find(cast(Any, discovered), job_id)


def read(connection: Connection, job_id: str) -> list[Chunk]:
    (moved,) = find(connection, job_id)
    chunks: list[Chunk] = []
    for chunk in moved_data.read_output(job_id, moved):
        if chunks and chunks[-1].stream == chunk.stream:
            chunks[-1] = Chunk(chunk.stream, chunks[-1].data + chunk.data)
        else:
            chunks.append(chunk)
    return chunks


def test_output_and_results_are_found_on_the_server_as_they_were(
    connection: Connection, below: Path, tmp_path: Path
) -> None:
    results = tmp_path / "left" / "job.1"
    (results / "empty").mkdir(parents=True)
    (results / "data").write_bytes(os.urandom(600_000))
    (results / "link").symlink_to("data")
    (results / "data").chmod(0o640)
    os.chown(results / "data", 1234, 1234)
    assert move(connection, Engine(tmp_path / "left", "job.1"), "job.1") == {}
    assert read(connection, "job.1") == CHUNKS
    (moved,) = find(connection, "job.1")
    assert moved == (connection, NODE.id, ("job.1-0",))
    ((server, location),) = moved_data.result_locations("job.1", [moved])
    there = Path(location.path) / "data"
    assert (there.stat().st_uid, there.stat().st_mode & 0o777) == (1234, 0o640)
    context = Context(cast(Any, None), Silence(), "me@here")
    discovered = cast(Any, SimpleNamespace(connections={}, by_address={}))
    fetch(context, discovered, (), tmp_path / "got", moved=[(server, location)])
    got = tmp_path / "got" / "job.1-0"
    assert (got / "data").read_bytes() == (results / "data").read_bytes()
    assert sorted(path.name for path in got.iterdir()) == ["data", "empty", "link"]


def test_of_a_job_that_left_no_results_the_output_is_there(connection: Connection, below: Path, tmp_path: Path) -> None:
    assert move(connection, Engine(tmp_path, "job"), "job") == {}
    assert read(connection, "job") == CHUNKS


def test_what_breaks_off_is_told_and_counts_as_not_moved(connection: Connection, below: Path, tmp_path: Path) -> None:
    class Silent(Engine):
        def logs(self, job_id: str, follow: bool, where: Callable[[str], bool] | None = None) -> Iterator[Chunk]:
            yield CHUNKS[0]
            raise ApiError("no answer from its API")

    failures = move(connection, Silent(tmp_path, "job"), "job")
    assert list(map(str, failures.values())) == ["no answer from its API"]
    assert find(connection, "job") == ()
    assert move(connection, Engine(tmp_path, "job"), "job") == {}
    assert read(connection, "job") == CHUNKS


def test_what_is_there_of_jobs_that_the_engine_has_no_more_is_removed(
    connection: Connection, below: Path, tmp_path: Path
) -> None:
    assert move(connection, Engine(tmp_path, "old", "kept"), "old", "kept") == {}
    assert move(connection, Engine(tmp_path, "kept", "new"), "new") == {}
    assert sorted(path.name for path in below.iterdir()) == ["kept", "new"]
    assert find(connection, "old") == ()
    assert read(connection, "kept") == CHUNKS


def test_a_link_in_place_of_results_is_not_followed(connection: Connection, below: Path, tmp_path: Path) -> None:
    (tmp_path / "job").symlink_to("/etc")
    (failure,) = move(connection, Engine(tmp_path, "job"), "job").values()
    assert "is a link, and no directory of results" in str(failure)


def test_what_a_server_that_leaves_had_kept_moves_to_another(connection: Connection, below: Path) -> None:
    for place in ("job/n1", "job/n2", ".job/n3"):
        (below / place / "results").mkdir(parents=True)
        (below / place / "output").write_bytes(b"stdout 4\nold\n")
    with connection.stream(host_script.load("host/moved.sh"), "send", files={"path": str(below).encode()}) as stream:
        archive = b"".join(iter(lambda: stream.read(1 << 16), b""))
    (below / "job/n1/output").write_bytes(b"stdout 4\nnew\n")
    (below / "job/n2/output").unlink()
    (below / "job/n2/results").rmdir()
    (below / "job/n2").rmdir()
    connection.run(host_script.load("host/moved.sh"), "adopt", stdin=[archive], timeout=60)
    outputs = {path.parent.name: path.read_bytes() for path in below.glob("job/*/output")}
    assert outputs == {"n1": b"stdout 4\nnew\n", "n2": b"stdout 4\nold\n"}
    assert sorted(path.name for path in below.iterdir()) == [".job", "job"]
