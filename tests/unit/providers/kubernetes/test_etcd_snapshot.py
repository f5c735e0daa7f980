"""A snapshot of etcd is taken as whole only where its own checksum says so."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode

import pytest

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.providers.kubernetes import etcd

STORE = bytes(range(256)) * 40
WHOLE = STORE + hashlib.sha256(STORE).digest()


def in_lines(content: bytes, size: int = 4096) -> bytes:
    """Return an answer of etcd's gateway, with a piece of the content a line."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    results = [{"result": {"remaining_bytes": "1", "blob": b64encode(piece).decode()}} for piece in pieces]
    return b"".join(json.dumps(result).encode() + b"\n" for result in results)


def test_the_pieces_of_a_snapshot_are_joined_with_the_checksum_at_the_end() -> None:
    assert etcd.parse_snapshot(in_lines(WHOLE)) == WHOLE


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        in_lines(STORE),
        in_lines(WHOLE[:-1]),
        in_lines(b"X" + WHOLE[1:]),
        in_lines(WHOLE)[:-9],
        b'{"error": {"message": "etcdserver: no leader"}}\n',
    ],
)
def test_a_snapshot_that_is_not_whole_is_none(answer: bytes) -> None:
    with pytest.raises(ApiError, match=r"^etcd: its snapshot did not arrive whole"):
        etcd.parse_snapshot(answer)
