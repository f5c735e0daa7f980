"""Makes tar archives in memory: inputs of host scripts, build contexts, files of new local hosts."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def pack(files: Mapping[str, tuple[str | bytes, int]]) -> bytes:
    """Return a tar archive of files and directories that belong to root; equal files give equal archives.

    Args:
        files: content and mode by path; a path that ends in "/" is a directory.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, (content, mode) in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(path.strip("/"))
            member.size, member.mode = len(data), mode
            if path.endswith("/"):
                member.type = tarfile.DIRTYPE
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
