"""Every command asks the next server where one is silent, at once, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine
from support.notes import Notes

from cloudmesh.cluster.core.errors import ApiError, UnreachableError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.providers import open_cluster
from cloudmesh.cluster.providers.open_cluster import open_engine


class Engine(MemoryEngine):
    """The API on a server, which may be silent."""

    def __init__(self, silent: bool) -> None:
        super().__init__()
        self.silent = silent

    def check(self) -> None:
        if self.silent:
            raise ApiError("no answer from its API")


class Provider:
    """Opens APIs; `silent` are the servers on which it does not answer, `open` those that are open."""

    def __init__(self, *silent: str) -> None:
        self.silent = set(silent)
        self.open: list[str] = []

    @contextmanager
    def open_engine(self, server: Any, _: object) -> Iterator[Engine]:
        self.open.append(server.host.name)
        try:
            yield Engine(server.host.name in self.silent)
        finally:
            self.open.remove(server.host.name)


def servers(*names: str) -> Any:
    def connect(_: ExitStack) -> Iterator[Any]:
        for name in names:
            yield SimpleNamespace(host=Host(name))

    return connect


def spec(*addresses: str) -> Any:
    return SimpleNamespace(cluster="demo", servers=addresses, secrets=None)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_cluster, "_CHOICE_SECONDS", 0.01)


def test_the_first_server_that_answers_is_taken_and_the_silent_ones_are_told() -> None:
    provider, notes = Provider("h1", "h2"), Notes()
    with open_engine(cast(Any, provider), spec("a", "b", "c"), servers("h1", "h2", "h3"), notes):
        assert provider.open == ["h3"]
    assert provider.open == []
    assert notes.notes == [f"{name}: no answer from its API; h3 is asked instead" for name in ("h1", "h2")]


def test_where_the_first_one_answers_nothing_is_said_and_no_other_is_asked() -> None:
    provider, notes = Provider("h2"), Notes()
    with open_engine(cast(Any, provider), spec("a", "b", "c"), servers("h1", "h2", "h3"), notes):
        assert provider.open == ["h1"]
    assert notes.notes == []


def test_where_none_answers_each_is_told_with_its_cause() -> None:
    provider = Provider("h1", "h2")
    with (
        pytest.raises(
            ApiError, match=r"^no server of cluster demo answers: h1: no answer .*; h2: no answer from its API$"
        ),
        open_engine(cast(Any, provider), spec("a", "b", "c"), servers("h1", "h2"), Notes()),
    ):
        pytest.fail("none answers")
    assert provider.open == []


def test_servers_that_choose_a_leader_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_cluster, "_CHOICE_SECONDS", 20.0)
    monkeypatch.setattr("time.sleep", lambda _: provider.silent.clear())
    provider = Provider("h1", "h2", "h3")
    with open_engine(cast(Any, provider), spec("a", "b", "c"), servers("h1", "h2", "h3"), Notes()):
        assert provider.open == ["h1"]


def test_a_single_server_is_not_asked_twice() -> None:
    provider = Provider("h1")
    with open_engine(cast(Any, provider), spec("a"), servers("h1"), Notes()):
        assert provider.open == ["h1"]


def test_what_goes_wrong_afterwards_is_told_as_it_is() -> None:
    provider = Provider()
    with (
        pytest.raises(UnreachableError, match=r"^h9: gone$"),
        open_engine(cast(Any, provider), spec("a", "b", "c"), servers("h1"), Notes()),
    ):
        raise UnreachableError("h9", "gone")
    assert provider.open == []
