"""A push goes to a server whose registry answers, and the other servers get what was pushed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.notes import Notes
from support.registry import BINARY, RegistryProcess

from cloudmesh.cluster.core.errors import HostError, ImageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.images import delivery, layers
from cloudmesh.cluster.images.registry import Registry

pytestmark = pytest.mark.skipif(not BINARY, reason="docker-registry is not installed")

CONFIG, MANIFEST = b"{}", b'{"schemaVersion": 2, "mediaType": "%s", "config": %s, "layers": []}'


class Server:
    """What is reached of a server through SSH: what it is told of a push is in `told`."""

    def __init__(self, name: str, *, registry: bool = True, ssh: bool = True) -> None:
        self.host, self.has_registry, self.has_ssh = Host(name), registry, ssh
        self.told: list[str] = []

    def run(self, script: str, verb: str, *, files: dict[str, bytes], timeout: float) -> None:
        assert "take_pushed" in script
        assert timeout > 0
        if not self.has_ssh:
            raise HostError(str(self.host), "the connection was lost")
        self.told.append(f"{verb} {files['pushed'].decode()}")


class Spec:
    cluster = "demo"

    def __init__(self, count: int) -> None:
        self.servers = tuple(f"10.0.0.{number}" for number in range(1, count + 1))


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryProcess]:
    """A real registry, which stands for that of each server that has one."""

    @contextmanager
    def open_on(server: Server, _: object) -> Iterator[Registry]:
        yield Registry(process.port if server.has_registry else 1)

    monkeypatch.setattr(delivery, "_open_on", open_on)
    with RegistryProcess(tmp_path) as process:
        yield process


def use(notes: Notes, count: int, *servers: Server, put: bool = True) -> None:
    """Open the registry of a cluster of `count` servers, of which `servers` answer, and put an image there."""

    def connect(_: ExitStack) -> Iterator[Any]:
        yield from servers

    with delivery.open_registry(Spec(count), connect, notes) as registry:  # type: ignore[arg-type]
        if put:
            put_image(registry)


def put_image(registry: Registry) -> None:
    digest = registry.put_blob("team/tool", CONFIG)
    entry = b'{"mediaType": "%s", "digest": "%s", "size": 2}' % (layers.CONFIG.encode(), digest.encode())
    registry.put_manifest("team/tool", "1", MANIFEST % (layers.MANIFEST.encode(), entry), layers.MANIFEST)


def test_the_other_servers_get_what_was_pushed_to_one(process: RegistryProcess) -> None:
    servers, notes = [Server("h1"), Server("h2"), Server("h3")], Notes()
    use(notes, 3, *servers)
    digest = Registry(process.port).digest("team/tool", "1").partition(":")[2]
    told = [f"pushed team/tool 1 {digest}\n"]
    assert [server.told for server in servers] == [[], told, told]
    assert notes.notes == []


def test_where_nothing_was_pushed_no_other_server_is_asked(process: RegistryProcess) -> None:
    servers = [Server("h1"), Server("h2"), Server("h3")]
    use(Notes(), 3, *servers, put=False)
    assert [server.told for server in servers] == [[], [], []]


def test_with_one_server_nothing_more_is_asked(process: RegistryProcess) -> None:
    use(Notes(), 1, Server("h1"))
    assert "/v2/" not in [path for _, path in process.requests()]


def test_the_next_server_is_asked_where_a_registry_is_silent_and_the_silent_one_gets_the_image_too(
    process: RegistryProcess,
) -> None:
    silent, second, third = servers = [Server("h1", registry=False), Server("h2"), Server("h3")]
    notes = Notes()
    use(notes, 3, *servers)
    (note,) = notes.notes
    assert note.startswith("h1: the cluster's registry does not answer: ")
    assert note.endswith("; h2 is asked instead")
    assert (len(silent.told), second.told, len(third.told)) == (1, [], 1)


def test_a_server_that_does_not_answer_is_told_and_catches_up_later(process: RegistryProcess) -> None:
    notes = Notes()
    use(notes, 3, Server("h1"), Server("h2", ssh=False))
    assert notes.notes == [
        "h2: the connection was lost; its registry catches up by itself",
        "the registry of a server that gave no answer catches up when it is back",
    ]


def test_where_no_registry_answers_each_is_told(process: RegistryProcess) -> None:
    with pytest.raises(ImageError, match=r"^no server of cluster demo has a registry that answers: h1: .*; h2: "):
        use(Notes(), 3, Server("h1", registry=False), Server("h2", registry=False))
