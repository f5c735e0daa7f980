"""SHA-256 digests: of data that need not fit into memory, and of secrets with a key."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

_BLOCK = 1 << 20  # bytes that are read at a time


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


def sha256_of_stream(stream: _Readable) -> str:
    """Return the SHA-256 of the rest of a binary stream, as hexadecimal digits."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return sha256_of_stream(file)


def keyed_digest(key: bytes, values: Mapping[str, str]) -> str:
    """Return 32 hexadecimal digits that tell whether two mappings are equal, and nothing else to who has not `key`."""
    return hmac.new(key, json.dumps(values, sort_keys=True).encode(), hashlib.sha256).hexdigest()[:32]
