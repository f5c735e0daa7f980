"""What hosts save of tasks' output is told whole, in order and once."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nomad
import pytest
from support.task_logs import LAST, MORE, docker_entry

from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.nomad import logs
from cloudmesh.cluster.providers.nomad.docker_log import DockerLog
from cloudmesh.cluster.providers.nomad.logs import TaskOutput, was_cut_off
from cloudmesh.cluster.providers.nomad.status import OutputSource

ALLOCATION, FIRST, SECOND = "a1", "output.task.2026-01-01T00:00:01.5Z", "output.task.2026-01-01T00:00:09.1Z"


def told(chunks: Iterator[Chunk], stream: str = "stdout") -> bytes:
    return b"".join(chunk.data for chunk in chunks if chunk.stream == stream)


class Handler(http.server.BaseHTTPRequestHandler):
    """The part of Nomad's API by which files of an allocation are read, from a folder."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if "/fs/ls/" in url.path:
            files = sorted(self.folder.iterdir())
            body = json.dumps([{"Name": file.name, "Size": file.stat().st_size} for file in files]).encode()
        else:
            start = int(query["offset"])
            body = (self.folder / query["path"].lstrip("/")).read_bytes()[start : start + int(query["limit"])]
        self.send_response(200 if ALLOCATION in url.path else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nomad.Nomad]:
    """Yield a client of an API that has the files in `tmp_path`."""
    monkeypatch.setattr(Handler, "folder", tmp_path, raising=False)
    monkeypatch.setattr(logs, "_PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(logs, "_MOMENT_SECONDS", 0.3)
    monkeypatch.setattr(logs, "_PIECE_BYTES", 100)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield nomad.Nomad(address=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def save(folder: Path, name: str, content: bytes, end: str | None = None) -> None:
    """Do what a host does of one attempt; `end` says that it is over."""
    (folder / f"{name}.from").write_text("boot 25 7")
    (folder / f"{name}.gap").touch()
    (folder / name).write_bytes(content)
    if end is not None:
        (folder / f"{name}.end").write_text(end)


def source(**fields: object) -> OutputSource:
    return OutputSource(ALLOCATION, "task", "n1", "h1", 1, True)._replace(**fields)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_each_stream_is_told_byte_for_byte_wherever_a_piece_ends(size: int):
    log, text = DockerLog(), b"x" * 16384
    saved = [
        docker_entry(b"one"),
        docker_entry(b""),
        docker_entry(b"wrong \xff\xfe", "stderr"),
        docker_entry(b"r\r"),
        docker_entry(text, part=MORE),
        docker_entry(b"end", part=LAST),
        docker_entry(b"y" * 200),
        docker_entry(b"no newline", part=MORE),
    ]
    whole = b"".join(saved)
    chunks = [chunk for at in range(0, len(whole), size) for chunk in log.read(whole[at : at + size])]
    assert told(iter(chunks)) == b"one\n\nr\r\n" + text + b"end\n" + b"y" * 200 + b"\nno newline"
    assert told(iter(chunks), "stderr") == b"wrong \xff\xfe\n"


def test_both_streams_are_told_as_they_came():
    pieces = docker_entry(b"1") + docker_entry(b"2", "stderr") + docker_entry(b"3") + docker_entry(b"4")
    assert list(DockerLog().read(pieces)) == [
        Chunk("stdout", b"1\n"),
        Chunk("stderr", b"2\n"),
        Chunk("stdout", b"3\n4\n"),
    ]


def test_what_is_added_is_told_once(client: nomad.Nomad, tmp_path: Path):
    output, lines = TaskOutput(client), [docker_entry(b"line %d" % at) for at in range(50)]
    save(tmp_path, FIRST, b"".join(lines[:20])[:-3])
    assert told(output.read_new([source()])).splitlines() == [b"line %d" % at for at in range(19)]
    assert told(output.read_new([source()])) == b""
    save(tmp_path, FIRST, b"".join(lines), "")
    assert told(output.read_rest([source()])).splitlines() == [b"line %d" % at for at in range(19, 50)]


def test_every_attempt_is_told_one_after_the_other(client: nomad.Nomad, tmp_path: Path):
    save(tmp_path, SECOND, docker_entry(b"again"), "")
    save(tmp_path, FIRST, docker_entry(b"try"), "")
    save(tmp_path, "output.task-2.2026-01-01T00:00:00Z", docker_entry(b"another task"), "")
    assert list(TaskOutput(client).read_rest([source(starts=2)])) == [
        Chunk("stdout", b"try\n"),
        Chunk("stdout", b"again\n"),
    ]


def test_an_end_that_was_not_saved_is_told(client: nomad.Nomad, tmp_path: Path):
    save(tmp_path, FIRST, docker_entry(b"a"))
    chunks = list(TaskOutput(client).read_rest([source()]))
    assert (told(iter(chunks)), told(iter(chunks), "stderr")) == (
        b"a\n",
        b"cms: the output of task may lack its end: host h1 has not saved it\n",
    )


def test_an_attempt_of_which_nothing_was_saved_is_told(client: nomad.Nomad, tmp_path: Path):
    save(tmp_path, FIRST, docker_entry(b"a"), "")
    assert b"may lack its end" in told(TaskOutput(client).read_rest([source(starts=2)]), "stderr")


def test_a_task_that_still_runs_is_not_waited_for(client: nomad.Nomad, tmp_path: Path):
    save(tmp_path, FIRST, docker_entry(b"a"))
    assert list(TaskOutput(client).read_rest([source(is_over=False)])) == [Chunk("stdout", b"a\n")]


def test_what_is_missing_between_first_and_last_part_is_told_there(client: nomad.Nomad, tmp_path: Path):
    first, last = docker_entry(b"first"), docker_entry(b"last") * 10
    save(tmp_path, FIRST, first + bytes(1000) + last, "")
    (tmp_path / f"{FIRST}.gap").write_text(f"{len(first)} {len(first) + 1000} 1234573\n")
    chunks = list(TaskOutput(client).read_rest([source()]))
    gap = Chunk("stderr", b"cms: the output of task is larger than its logLimit: 1,234,567 bytes are missing here\n")
    assert chunks[:2] == [Chunk("stdout", b"first\n"), gap]
    assert told(iter(chunks[2:])) == b"last\n" * 10


def test_a_host_that_does_not_answer_is_named(client: nomad.Nomad):
    chunks = list(TaskOutput(client).read_rest([source(allocation_id="gone")]))
    assert [chunk.stream for chunk in chunks] == ["stderr"]
    assert chunks[0].data.startswith(b"cms: the output of task on h1 cannot be had: ")
    assert list(TaskOutput(client).read_new([source(allocation_id="gone")], is_last=True)) == chunks
    assert list(TaskOutput(client).read_new([source(allocation_id="gone")])) == []


def test_a_restart_of_the_host_is_what_the_last_attempt_says(client: nomad.Nomad, tmp_path: Path):
    save(tmp_path, FIRST, b"", "restarted\n")
    assert was_cut_off(client, ALLOCATION, "task")
    save(tmp_path, SECOND, b"", "")
    assert not was_cut_off(client, ALLOCATION, "task")
    assert not was_cut_off(client, ALLOCATION, "other")
    assert not was_cut_off(client, "gone", "task")
