"""What is slow to make is made once, however many commands want it at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.user_cache import make_alone


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cache"
    monkeypatch.setenv("CLOUDMESH_CLUSTER_CACHE", str(directory))
    return directory


def test_of_many_that_want_the_same_one_makes_it_and_the_others_wait_and_say_so() -> None:
    made: list[str] = []
    waiting = threading.Semaphore(0)

    def want() -> None:
        with make_alone("image", waiting.release):
            if not made:
                made.append("image")

    others = [threading.Thread(target=want) for _ in range(5)]
    with make_alone("image", lambda: pytest.fail("nobody else makes it")):
        for other in others:
            other.start()
        assert all(waiting.acquire(timeout=5) for _ in others)
        assert made == []
    for other in others:
        other.join(5)
    assert made == ["image"]


def test_another_thing_is_not_waited_for() -> None:
    with make_alone("one", lambda: None), make_alone("two", lambda: pytest.fail("it waits")):
        pass


def test_a_cache_that_cannot_be_written_to_is_named_with_the_remedy(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(ClusterError, match=f"^cache {cache}: .*; make room or set CLOUDMESH_CLUSTER_CACHE$"):
        make_alone("image", lambda: None).__enter__()
