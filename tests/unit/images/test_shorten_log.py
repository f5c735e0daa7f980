"""The host's script that drops the middle of a large log: what is kept and what is told as missing is all there was."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.task_logs import LAST, MORE, cri_line, docker_entry

from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kept_log import KeptLog
from cloudmesh.cluster.providers.kubernetes.cri_log import CriLog
from cloudmesh.cluster.providers.nomad.docker_log import DockerLog

SCRIPT = Path(__file__).parents[3] / "cloudmesh/images/host/shorten-log.pl"
LIMIT = 1 << 20
MISSING = re.compile(rb"cms: the output of task is larger than its logLimit: ([0-9,]+) bytes are missing here\n")


def docker_line(line: bytes, stream: str) -> bytes:
    """Return a line as Docker logs it: in parts where it is long."""
    if len(line) <= 16384:
        return docker_entry(line, stream)
    parts = [line[at : at + 16384] for at in range(0, len(line), 16384)]
    return b"".join(docker_entry(part, stream, LAST if part is parts[-1] else MORE) for part in parts)


def containerd_line(line: bytes, stream: str) -> bytes:
    parts = [line[at : at + 16384] for at in range(0, len(line), 16384)] or [b""]
    return b"".join(cri_line(part, "F" if part is parts[-1] else "P", stream) for part in parts)


class Format(NamedTuple):
    """A format of logs."""

    name: str
    line: Callable[[bytes, str], bytes]
    parser: Callable[[], CriLog | DockerLog]


FORMATS = [Format("docker", docker_line, DockerLog), Format("cri", containerd_line, CriLog)]


class Log:
    """A log that grows, and its reader's source."""

    def __init__(self, path: Path, log_format: Format) -> None:
        self.path = path
        self.format = log_format
        self.printed = b""  # to stdout
        path.touch()

    def print(self, line: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(self.format.line(line, "stdout"))
        self.printed += line + b"\n"

    def print_lines(self, first: int, last: int) -> None:
        lines = [b"%079d" % number for number in range(first, last + 1)]
        with self.path.open("ab") as file:
            file.write(b"".join(self.format.line(line, "stdout") for line in lines))
        self.printed += b"".join(line + b"\n" for line in lines)

    def shorten(self, limit: int = LIMIT) -> None:
        subprocess.run(["perl", SCRIPT, self.format.name, str(limit), self.path], check=True)

    def read_next_size(self) -> int:
        """Return from which size on the log is to be shortened again."""
        return int(Path(f"{self.path}.scan").read_text().split()[0])

    def open(self) -> KeptLog:
        return KeptLog(self, self.format.parser(), "task")

    def read(self, offset: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(1_000_000)

    def read_gap(self) -> bytes:
        gap = Path(f"{self.path}.gap")
        return gap.read_bytes() if gap.exists() else b""


@pytest.fixture(params=FORMATS, ids=lambda log_format: log_format.name)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    """Return a log in which nothing is."""
    return Log(tmp_path / "0.log", request.param)


def split(chunks: Iterator[Chunk]) -> tuple[bytes, int, bytes]:
    """Return what is told before the line about what is missing, how many bytes that says, and what comes behind it."""
    parts: list[bytes] = [b""]
    missing = 0
    for chunk in chunks:
        if chunk.stream == "stdout":
            parts[-1] += chunk.data
        else:
            match = MISSING.fullmatch(chunk.data)
            assert match, chunk.data
            missing += int(match[1].replace(b",", b""))
            parts.append(b"")
    assert len(parts) <= 2
    return parts[0], missing, parts[1] if len(parts) == 2 else b""


def check(log: Log, chunks: Iterator[Chunk]) -> tuple[bytes, int, bytes]:
    """Check that the first and the last part and what is missing are all that was printed; return them."""
    first, missing, last = split(chunks)
    assert len(first) + missing + len(last) == len(log.printed)
    assert (log.printed.startswith(first), log.printed.endswith(last)) == (True, True)
    return first, missing, last


def test_a_log_that_is_within_its_limit_stays_whole(log: Log):
    log.print_lines(1, 13_000)
    assert len(log.printed) < LIMIT < log.path.stat().st_size
    log.shorten()
    assert check(log, log.open().read_new()) == (log.printed, 0, b"")
    assert log.read_next_size() >= log.path.stat().st_size + LIMIT - len(log.printed)


def test_the_first_and_the_last_part_of_a_larger_one_are_kept_and_what_is_missing_is_counted(log: Log):
    log.print_lines(1, 50_000)
    before = log.path.stat()
    log.shorten()
    first, missing, last = check(log, log.open().read_new())
    assert LIMIT * 0.4 < len(first) <= LIMIT / 2
    assert LIMIT * 0.25 < len(last) <= LIMIT * 3 / 8
    assert missing > 2 * LIMIT
    after = log.path.stat()
    assert (after.st_size, after.st_ino) == (before.st_size, before.st_ino)
    assert after.st_blocks < before.st_blocks / 2
    assert first.endswith(b"\n")


def test_a_log_that_goes_on_is_shortened_again_and_again(log: Log):
    for batch in range(8):
        log.print_lines(batch * 4_000, (batch + 1) * 4_000 - 1)
        log.shorten()
        first, missing, last = check(log, log.open().read_new())
        assert len(first) + len(last) <= LIMIT
        assert bool(missing) == (len(log.printed) > LIMIT)


def test_a_reader_that_follows_is_told_what_it_missed_and_nothing_twice(log: Log):
    reader, chunks = log.open(), []
    log.print_lines(1, 8_000)
    chunks += reader.read_new()
    log.print_lines(8_001, 25_000)
    log.shorten()
    chunks += reader.read_new()
    log.print_lines(25_001, 26_000)
    log.shorten()
    chunks += reader.read_new()
    _, missing, _ = check(log, iter(chunks))
    assert missing > 0


def test_a_reader_that_keeps_up_misses_nothing(log: Log):
    reader, chunks = log.open(), []
    for batch in range(5):
        log.print_lines(batch * 4_000, (batch + 1) * 4_000 - 1)
        chunks += reader.read_new()
        log.shorten()
    assert check(log, iter(chunks)) == (log.printed, 0, b"")


def test_lines_of_any_bytes_and_lengths_are_counted(log: Log):
    source = random.Random(1)  # noqa: S311 - nothing secret
    for _ in range(300):
        log.print(source.randbytes(source.choice((0, 1, 100, 127, 128, 16_384, 40_000))).replace(b"\n", b""))
        if source.random() < 0.02:
            log.shorten()
    log.shorten()
    _, missing, _ = check(log, log.open().read_new())
    assert missing > 0


def test_one_line_without_an_end_in_sight_is_cut(log: Log):
    log.print(b"x" * 5_000_000)
    log.shorten()
    first, missing, last = check(log, log.open().read_new())
    assert len(first) + len(last) < LIMIT
    assert missing > 3_000_000


def test_no_line_of_the_hole_is_large_for_those_who_read_it_line_by_line(tmp_path: Path):
    log = Log(tmp_path / "0.log", FORMATS[1])
    block = b"".join(log.format.line(b"%100d" % number, "stdout") for number in range(100_000))
    with log.path.open("wb") as file:
        for _ in range(4):
            file.write(block)
    log.shorten()
    assert max(map(len, log.path.read_bytes().split(b"\n"))) <= 16 << 20


def test_what_is_no_such_log_stays_as_it_is(log: Log):
    log.path.write_bytes(b"\xff" * (2 << 20))
    process = subprocess.run(["perl", SCRIPT, log.format.name, str(LIMIT), log.path], capture_output=True, check=False)
    assert process.returncode != 0
    assert b"no " + log.format.name.encode() + b" log at 0" in process.stderr
    assert log.path.read_bytes() == b"\xff" * (2 << 20)
