"""The output of a pod, read by the byte from the files that its host keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.task_logs import cri_line

from cloudmesh.cluster.core.errors import NotFoundError
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kubernetes.cri_log import CriLog
from cloudmesh.cluster.providers.kubernetes.logs import PodOutput


class Folder:
    """The files of a container in a real folder; pieces are small."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def list_names(self) -> list[str]:
        if not self.path.exists():
            raise NotFoundError("no such folder")
        return [path.name for path in self.path.iterdir()]

    def read(self, name: str, offset: int = 0) -> bytes:
        if not (self.path / name).exists():
            raise NotFoundError("no such file")
        return (self.path / name).read_bytes()[offset : offset + 100]


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
            cri_line(b"a"),
            cri_line(b""),
            cri_line(b"  \xff stdout F b\r"),
            cri_line(b"an error", stream="stderr"),
            cri_line(b"x" * 16384, "P"),
            cri_line(b"end"),
            cri_line(b"no newline", "P"),
        ]
    )
    chunks = [chunk for at in range(0, len(whole), size) for chunk in log.read(whole[at : at + size])]
    stdout = b"".join(chunk.data for chunk in chunks if chunk.stream == "stdout")
    assert stdout == b"a\n\n  \xff stdout F b\r\n" + b"x" * 16384 + b"end\nno newline"
    assert b"".join(chunk.data for chunk in chunks if chunk.stream == "stderr") == b"an error\n"


def test_both_streams_are_told_as_they_came():
    pieces = cri_line(b"1") + cri_line(b"2", stream="stderr") + cri_line(b"3")
    assert list(CriLog().read(pieces)) == [Chunk("stdout", b"1\n"), Chunk("stderr", b"2\n"), Chunk("stdout", b"3\n")]


def test_what_is_added_is_told_once(output: PodOutput, tmp_path: Path):
    lines = [cri_line(b"line %d" % at) for at in range(50)]
    (tmp_path / "0.log").write_bytes(b"".join(lines[:20])[:-3])
    assert told(output).splitlines() == [b"line %d" % at for at in range(19)]
    assert told(output) == b""
    (tmp_path / "0.log").write_bytes(b"".join(lines))
    assert told(output).splitlines() == [b"line %d" % at for at in range(19, 50)]


def test_what_is_missing_between_first_and_last_part_is_told_there(output: PodOutput, tmp_path: Path):
    first, last = cri_line(b"first"), cri_line(b"last") * 9
    (tmp_path / "0.log").write_bytes(first + bytes(500) + last)
    (tmp_path / "0.log.gap").write_text(f"{len(first)} {len(first) + 500} 1234573\n")
    (tmp_path / "0.log.scan").touch()
    chunks = list(output.read_new())
    gap = Chunk("stderr", b"cms: the output of driver is larger than its logLimit: 1,234,567 bytes are missing here\n")
    assert chunks[:2] == [Chunk("stdout", b"first\n"), gap]
    assert b"".join(chunk.data for chunk in chunks[2:]) == b"last\n" * 9


def test_a_container_that_is_started_again_goes_on_in_its_next_file(output: PodOutput, tmp_path: Path):
    (tmp_path / "0.log").write_bytes(cri_line(b"a"))
    assert told(output) == b"a\n"
    (tmp_path / "1.log").write_bytes(cri_line(b"b"))
    assert told(output, restarts=1) == b"b\n"
    assert told(PodOutput(Folder(tmp_path), "driver"), restarts=1) == b"a\nb\n"


def test_a_container_that_has_written_nothing_yet_is_waited_for(output: PodOutput, tmp_path: Path):
    assert told(output) == b""
    (tmp_path / "0.log").write_bytes(cri_line(b"a"))
    assert told(output) == b"a\n"


def test_a_host_that_keeps_nothing_is_told(tmp_path: Path):
    with pytest.raises(NotFoundError):
        told(PodOutput(Folder(tmp_path / "gone"), "driver"))
