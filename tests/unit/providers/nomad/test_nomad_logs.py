"""What a host keeps of a task's output, and what of it Nomad lacks."""

import struct

import pytest

from cloudmesh.cluster.providers.nomad import logs


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


def test_each_stream_is_told_as_it_was_written():
    framed = frame(1, b"one\n") + frame(2, b"an error\n") + frame(1, b"") + frame(1, b"two")
    assert logs.split_streams(framed) == {"stdout": b"one\ntwo", "stderr": b"an error\n"}


def test_what_a_full_disk_cut_off_is_told_as_far_as_it_goes():
    assert logs.split_streams(frame(1, b"one\n") + frame(1, b"another\n")[:-3])["stdout"] == b"one\nanoth"
    assert logs.split_streams(frame(1, b"one\n") + b"\x01\x00")["stdout"] == b"one\n"


def test_a_terminals_output_has_no_streams():
    assert logs.split_streams(b"told to a terminal\r\n") == {"stdout": b"", "stderr": b""}


@pytest.mark.parametrize(
    ("log", "saved", "missing"),
    [
        (b"", b"all\n", b"all\n"),
        (b"all\n", b"all\n", b""),
        (b"all\n", b"", b""),
        (b"first\nla", b"first\nlast\n", b"st\n"),
        (b"an attempt\nanother\n", b"another\n", b""),
        (b"an attempt\nano", b"another\n", b"ther\n"),
        (b"try 1\n", b"words\n", b"words\n"),
        (b"long ago\nnow\n", b"go\nnow\nend\n", b"end\n"),
        (b"aab", b"aabaab", b"aab"),
    ],
)
def test_only_what_nomad_has_not_told_is_added(log: bytes, saved: bytes, missing: bytes):
    assert logs.find_missing_end(log, saved) == missing


def test_a_log_of_millions_of_equal_lines_is_compared_at_once():
    lines = b"the same again\n" * 250_000
    assert logs.find_missing_end(lines, lines + b"end\n") == b"end\n"
    assert logs.find_missing_end(b"another\n" + lines, lines + b"end\n") == b"end\n"
