"""The output of a pod, read by the byte from the files that its host keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import NotFoundError
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kubernetes.api_client import BeyondEndError
from cloudmesh.cluster.providers.kubernetes.cri_log import CriLog
from cloudmesh.cluster.providers.kubernetes.logs import PodOutput

TOO_LARGE = b"cms: the output of driver is too large to be kept: an unknown amount is missing here\n"


def line(text: bytes, tag: str = "F", stream: str = "stdout") -> bytes:
    return f"2026-11-24T06:00:00.000000000Z {stream} {tag} ".encode() + text + b"\n"


class Folder:
    """The files of a container in a real folder; pieces are small."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def list_names(self) -> list[str]:
        if not self.path.exists():
            raise NotFoundError("no such folder")
        return [path.name for path in self.path.iterdir()]

    def read(self, name: str, offset: int) -> bytes:
        if not (self.path / name).exists():
            raise NotFoundError("no such file")
        content = (self.path / name).read_bytes()
        if offset > len(content):
            raise BeyondEndError("416")
        return content[offset : offset + 100]


@pytest.fixture
def output(tmp_path: Path) -> PodOutput:
    """Return the output of a pod whose files are in `tmp_path`."""
    return PodOutput(Folder(tmp_path), "driver")


def told(output: PodOutput, restarts: int = 0, stream: str = "stdout") -> bytes:
    return b"".join(chunk.data for chunk in output.read_new(restarts) if chunk.stream == stream)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_each_stream_is_told_byte_for_byte_wherever_a_piece_ends(size: int):
    log = CriLog()
    whole = b"".join(
        [
            line(b"a"),
            line(b""),
            line(b"  \xff stdout F b\r"),
            line(b"an error", stream="stderr"),
            line(b"x" * 16384, "P"),
            line(b"end"),
            line(b"no newline", "P"),
        ]
    )
    chunks = [chunk for at in range(0, len(whole), size) for chunk in log.read(whole[at : at + size])]
    stdout = b"".join(chunk.data for chunk in chunks if chunk.stream == "stdout")
    assert stdout == b"a\n\n  \xff stdout F b\r\n" + b"x" * 16384 + b"end\nno newline"
    assert b"".join(chunk.data for chunk in chunks if chunk.stream == "stderr") == b"an error\n"


def test_both_streams_are_told_as_they_came():
    pieces = line(b"1") + line(b"2", stream="stderr") + line(b"3")
    assert list(CriLog().read(pieces)) == [Chunk("stdout", b"1\n"), Chunk("stderr", b"2\n"), Chunk("stdout", b"3\n")]


def test_what_is_added_is_told_once(output: PodOutput, tmp_path: Path):
    lines = [line(b"line %d" % at) for at in range(50)]
    (tmp_path / "0.log").write_bytes(b"".join(lines[:20])[:-3])
    assert told(output).splitlines() == [b"line %d" % at for at in range(19)]
    assert told(output) == b""
    (tmp_path / "0.log").write_bytes(b"".join(lines))
    assert told(output).splitlines() == [b"line %d" % at for at in range(19, 50)]


def test_nothing_is_lost_where_the_kubelet_begins_another_file(output: PodOutput, tmp_path: Path):
    (tmp_path / "0.log").write_bytes(line(b"a") * 9)
    assert told(output) == b"a\n" * 9
    (tmp_path / "0.log").write_bytes(line(b"a") * 9 + line(b"b"))
    (tmp_path / "0.log").rename(tmp_path / "0.log.20261124-060001")
    assert told(output) == b""
    (tmp_path / "0.log").write_bytes(line(b"c"))
    assert told(output) == b"b\nc\n"
    (tmp_path / "0.log").write_bytes(line(b"c") + line(b"d"))
    assert told(output) == b"d\n"


def test_what_the_kubelet_has_removed_is_told_as_missing(output: PodOutput, tmp_path: Path):
    (tmp_path / "0.log").write_bytes(line(b"a") * 9)
    assert told(output) == b"a\n" * 9
    (tmp_path / "0.log.20261124-060002").write_bytes(line(b"c"))
    (tmp_path / "0.log.20261124-060001.gz").write_bytes(b"")
    (tmp_path / "0.log").write_bytes(line(b"d"))
    assert list(output.read_new(0)) == [Chunk("stderr", TOO_LARGE), Chunk("stdout", b"c\n"), Chunk("stdout", b"d\n")]


def test_a_large_output_is_told_from_the_oldest_file_on_afterwards(output: PodOutput, tmp_path: Path):
    (tmp_path / "0.log.20261124-060001").write_bytes(line(b"a"))
    (tmp_path / "0.log").write_bytes(line(b"b"))
    note, *chunks = output.read_new(0)
    assert b"may lack its beginning" in note.data
    assert chunks == [Chunk("stdout", b"a\n"), Chunk("stdout", b"b\n")]


def test_a_container_that_is_started_again_goes_on_in_its_next_file(output: PodOutput, tmp_path: Path):
    (tmp_path / "0.log").write_bytes(line(b"a"))
    assert told(output) == b"a\n"
    (tmp_path / "1.log").write_bytes(line(b"b"))
    assert told(output, restarts=1) == b"b\n"
    assert told(PodOutput(Folder(tmp_path), "driver"), restarts=1) == b"a\nb\n"


def test_a_container_that_has_written_nothing_yet_is_waited_for(output: PodOutput, tmp_path: Path):
    assert told(output) == b""
    (tmp_path / "0.log").write_bytes(line(b"a"))
    assert told(output) == b"a\n"


def test_a_host_that_keeps_nothing_is_told(tmp_path: Path):
    with pytest.raises(NotFoundError):
        told(PodOutput(Folder(tmp_path / "gone"), "driver"))
