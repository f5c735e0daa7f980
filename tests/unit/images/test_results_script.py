"""The script by which hosts send results, as a local process: never silent for long, and nothing in it is mixed up."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "cloudmesh/images/host/results.sh"
LARGE, SEGMENT = 5000, 2000


@pytest.fixture
def run(tmp_path: Path):
    """Run a verb of the script on two files, with SHA-256 that takes a second, and signs of life every 0.1 s."""
    programs = {"sha256sum": "sleep 1\nexec /usr/bin/sha256sum", "sleep": '[ "$1" = 5 ] && set -- 0.1\nexec /bin/sleep'}
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\n{text} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    left = tmp_path / "left"
    left.mkdir()
    (left / "a").write_bytes(b"a" * 3000)
    (left / "b").write_bytes(bytes(range(250)) * (LARGE // 250))

    def run(verb: str, **inputs: str) -> bytes:
        inputs |= {"path": str(left), "segment": str(SEGMENT)}
        for name, text in inputs.items():
            file = tmp_path / "inputs" / name.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        command = ["sh", str(SCRIPT), verb]
        return subprocess.run(
            command, cwd=tmp_path / "inputs", env=environment, stdout=subprocess.PIPE, check=True
        ).stdout

    return run


def test_an_archive_is_followed_by_signs_of_life_and_by_its_checksums(run) -> None:
    sent = run("pack", batches__1="./a\0", batches__2="./b\0./gone\0")
    names = []
    with tarfile.open(fileobj=io.BytesIO(sent), mode="r|", ignore_zeros=True) as archive:
        for member in archive:
            names.append(member.name)
            data = archive.extractfile(member)
            assert data
            assert member.name != "cms-checksums" or len(data.read()) == 64 + 2 + 3 + 1
    assert names == ["./a", "cms-checksums", "./b", "cms-checksums"]
    assert len(sent) % 512 == 0
    assert len(sent) > 4 * 10240 + 5 * 512  # an archive of tar's has 10 KiB at least


def test_digests_are_preceded_by_signs_of_life_and_large_files_have_one_for_each_segment(run) -> None:
    sent = run("digests", names="./a\0", large=f"{LARGE}\0./b\0")
    signs = len(sent) - len(sent.lstrip(b"\0"))
    assert signs > 5
    content = bytes(range(250)) * (LARGE // 250)
    segments = [content[at : at + SEGMENT] for at in range(0, LARGE, SEGMENT)]
    digests = [hashlib.sha256(segment).hexdigest() for segment in segments]
    assert sent.lstrip(b"\0").decode().split("\0") == [
        f"{hashlib.sha256(b'a' * 3000).hexdigest()}  ./a",
        "".join(f"{digest}\n" for digest in digests) + "  ./b",
        "",
    ]


def test_a_file_is_read_from_where_it_is_wanted_with_a_digest_behind_each_segment(run) -> None:
    sent = run("read", name="./b", offset="2000", length="3000")
    content = bytes(range(250)) * (LARGE // 250)
    segments = (content[2000:4000], content[4000:])
    assert sent == b"".join(part + hashlib.sha256(part).hexdigest().encode() + b"\n" for part in segments)


def test_a_job_that_left_nothing_lists_nothing(run, tmp_path: Path) -> None:
    assert run("list").count(b"\0") == 18
    for name in ("a", "b"):
        (tmp_path / "left" / name).unlink()
    assert run("list") == b""
    (tmp_path / "left").rmdir()
    assert run("list") == b""
