"""Names that would mean something else in a path, a query or a shell are refused before any host is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cms import Operator

BAD = ("a/../../acl/tokens", "x?y", "$(id)", "two\nlines", "a" * 64, "a b", "-", "Ä", "")


class Counter:
    """A port whose connections are counted."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            client.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    counter = Counter()
    yield counter
    counter.close()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("job") / "pi.py"
    file.write_text("print(3)\n")
    return str(file)


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_cluster_name_is_refused_in_one_line_and_nothing_is_asked(
    name: str, counter: Counter, tmp_path: Path
) -> None:
    for words in (("create",), ("kill", "--yes")):
        more = (counter.address,) if words[0] == "create" else ("--hosts", counter.address)
        outcome = Operator(tmp_path).cms(words[0], f"--name={name}", *words[1:], *more, seconds=20)
        assert len(outcome.expect_failure(2, "^cluster name .* is not valid")) == 1
        assert outcome.stderr.count("\n") == 1
    assert counter.connections == 0


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_job_name_is_refused_in_one_line_and_nothing_is_asked(
    name: str, counter: Counter, job: str, tmp_path: Path
) -> None:
    hosts = f"--hosts={counter.address}"
    for words in (
        ("submit", "-n", "t-fname", hosts, f"--id={name}", job),
        ("stop", "-n", "t-fname", hosts, name),
    ):
        outcome = Operator(tmp_path).cms(*words, seconds=20)
        assert len(outcome.expect_failure(2, "^job id .* is not valid")) == 1
        assert outcome.stderr.count("\n") == 1
    assert counter.connections == 0


def test_the_counter_counts(counter: Counter, tmp_path: Path) -> None:
    Operator(tmp_path).cms("info", "-n", "t-fname", "--hosts", counter.address, seconds=40).expect_failure(
        1, f"^{counter.address}: "
    )
    assert counter.connections > 0
