"""A rotation that is cut off anywhere is finished by the next one, and at no moment a host is cut off from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from support.clock import provide_clock
from support.memory_engine.provider import MemoryEngine, MemoryProvider

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError, UsageError
from cloudmesh.cluster.core.model import Host, Marker, Node, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import expiry, lock, members
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.hosts.expiry import HostCertificates
from cloudmesh.cluster.lifecycle import rotate
from cloudmesh.cluster.lifecycle.phases import PlannedStep
from cloudmesh.cluster.providers.open_cluster import OpenCluster
from cloudmesh.cluster.providers.rotation import EngineRotation, Stage

__all__ = ["provide_clock"]
pytestmark = pytest.mark.usefixtures("clock")

SERVERS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
ADDRESSES = (*SERVERS, "10.0.0.4", "10.0.0.5")
FIRST = ClusterSecrets(
    certificates.new_authority("demo"), {"token": "old", "network pods": "10.9.0.0/16"}, certificates.new_authority("w")
)


class CutOffError(BaseException):
    """The client is killed."""


@dataclass
class FakeHost:
    """A host: what the scripts write, and what its engine takes."""

    host: Host
    world: World
    trusted: bytes
    signer: bytes
    secrets: ClusterSecrets | None = None
    rotation: str = ""

    def run(self, script: str, verb: str, *, files: Mapping[str, bytes], **_: Any) -> None:
        self.world.before_change(self.host)
        if verb == "keep":
            self.secrets = ClusterSecrets.loads(files["etc/secrets.json"])
        else:
            self.trusted = files["etc/ca.pem"]
            if "etc/host.pem" in files:
                self.signer = next(pem for pem in self.world.authorities() if is_signed(files["etc/host.pem"], pem))
            self.rotation = files["rotation"].decode()
        self.world.check()


@dataclass
class World(EngineRotation):
    """A cluster of three servers and two workers, and an engine that takes tokens."""

    hosts: dict[str, FakeHost] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {"old"})
    changes: int = 0
    fail_at: int | None = None
    silent: frozenset[str] = frozenset()
    barred: tuple[str, ...] = ()
    error: Callable[[Host], BaseException] = lambda _: CutOffError()

    def __post_init__(self) -> None:
        for number, address in enumerate(ADDRESSES, 1):
            secrets = FIRST if address in SERVERS else None
            pem = FIRST.authority.certificate
            self.hosts[address] = FakeHost(Host(f"h{number}"), self, pem, pem, secrets)

    def authorities(self) -> list[bytes]:
        stored = [secrets for host in self.hosts.values() if host.secrets for secrets in host.secrets.generations]
        return [secrets.authority.certificate for secrets in stored]

    def before_change(self, host: Host) -> None:
        self.changes += 1
        if self.changes - 1 == self.fail_at:
            raise self.error(host)

    def check(self) -> None:
        """AssertionError: a host does not trust what another one shows, or the token that is in force is none."""
        for one in self.hosts.values():
            assert all(other.signer in one.trusted for other in self.hosts.values())
            assert one.secrets is None or one.secrets.engine["token"] in self.tokens

    def files(self, spec: ClusterSpec, host: Marker, stage: Stage, now: float) -> Mapping[str, bytes]:
        return {}

    def adopt(self, server: Any, spec: ClusterSpec) -> Mapping[str, str]:
        assert spec.secrets.successor
        self.before_change(server.host)
        self.tokens.add(token := f"new {spec.secrets.successor.rotation}")
        return {**spec.secrets.successor.engine, "token": token}

    def revoke(self, server: Any, spec: ClusterSpec) -> None:
        self.before_change(server.host)
        self.tokens = {spec.secrets.engine["token"]}
        self.check()

    def silent_nodes(self, server: Any, spec: ClusterSpec) -> Mapping[str, str]:
        return {}

    def rotate(self) -> None:
        rotate.rotate(self.open())

    def plan(self) -> tuple[PlannedStep, ...]:
        return rotate.plan_rotate(self.open())

    def open(self) -> OpenCluster:
        markers = {
            host.host: Marker("demo", "abc", "memory", role_of(address), address, SERVERS)
            for address, host in self.hosts.items()
            if address not in self.barred
        }
        connections = {host.host: cast(Any, host) for host in self.hosts.values()}
        discovered = DiscoveredCluster("demo", markers, connections)
        stored = self.hosts[SERVERS[0]].secrets
        spec = ClusterSpec("demo", "abc", "memory", SERVERS, cast(ClusterSecrets, stored))
        context = Context(cast(Any, None), Silence(), "me@here")
        return OpenCluster(context, MemoryProvider(), discovered, connections[Host("h1")], spec)


def role_of(address: str) -> Role:
    return Role.SERVER if address in SERVERS else Role.WORKER


def is_signed(certificate: bytes, authority: bytes) -> bool:
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (ValueError, InvalidSignature):
        return False
    return True


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    def read(host: FakeHost) -> HostCertificates:
        if str(host.host) in world.silent:
            raise HostError(str(host.host), "no answer")
        return HostCertificates(1_800_000_000.0, {}, host.rotation)

    nodes = tuple(Node(str(host.host), address, (role_of(address),), "ready") for address, host in world.hosts.items())
    monkeypatch.setattr(MemoryProvider, "instance", MemoryEngine(workers=nodes))
    monkeypatch.setattr(MemoryProvider, "rotation", lambda _: world)
    monkeypatch.setattr(MemoryProvider, "new_secrets", lambda _: {"token": "to be made"})
    monkeypatch.setattr(expiry, "read", read)
    monkeypatch.setattr(rotate, "read_secrets", lambda host: host.secrets)
    monkeypatch.setattr(members, "read", lambda _: members.MemberList((), True, world.barred))
    monkeypatch.setattr(lock, "hold", lambda *_: SimpleNamespace(release=lambda: None))
    return world


def check_rotated(world: World) -> ClusterSecrets:
    """Return the new secrets; AssertionError: something of the old ones is left."""
    secrets = world.hosts[SERVERS[0]].secrets
    assert secrets
    assert secrets.generations == (secrets,)
    assert secrets.authority.certificate != FIRST.authority.certificate
    for address, host in world.hosts.items():
        assert host.trusted == host.signer == secrets.authority.certificate
        assert host.secrets == (secrets if address in SERVERS else None)
    assert world.tokens == {secrets.engine["token"]} != {"old"}
    return secrets


def count_changes(world: World) -> int:
    world.rotate()
    return world.changes


def test_every_host_and_the_engine_have_new_ones_in_the_end_and_what_is_no_secret_stays(world: World) -> None:
    world.rotate()
    secrets = check_rotated(world)
    assert secrets.networks == FIRST.networks
    assert secrets.digest_key == FIRST.digest_key
    assert secrets.writers
    assert secrets.writers != FIRST.writers


def test_wherever_it_was_cut_off_the_next_run_finishes_it(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    total = count_changes(request.getfixturevalue("world"))
    assert total > len(ADDRESSES) * len(Stage)
    world: World = request.getfixturevalue("world")
    for number in range(total):
        world.__init__(fail_at=number)  # type: ignore[misc]
        with pytest.raises((CutOffError, HostsError)):
            world.rotate()
        world.fail_at = None
        world.rotate()
        check_rotated(world)


def test_what_an_interrupted_run_has_done_is_not_done_again(world: World) -> None:
    changes = count_changes(world)
    world.__init__(fail_at=changes - 2)  # type: ignore[misc]
    with pytest.raises((CutOffError, HostsError)):
        world.rotate()
    world.changes, world.fail_at = 0, None
    world.rotate()
    assert world.changes < changes / 2


@pytest.mark.parametrize("at", range(3, 13))
def test_while_a_host_has_not_changed_over_nothing_old_is_dropped(world: World, at: int) -> None:
    world.fail_at, world.error = at, lambda host: HostError(str(host), "its disk is full")
    with pytest.raises(HostsError, match="its disk is full"):
        world.rotate()
    assert all(FIRST.authority.certificate in host.trusted for host in world.hosts.values())
    assert "old" in world.tokens


def test_a_host_that_does_not_answer_stops_it_before_anything_is_changed(world: World) -> None:
    world.silent = frozenset({"h5"})
    with pytest.raises(ClusterError, match=r"^h5: no answer"):
        world.rotate()
    assert world.changes == 0


def test_a_host_that_was_removed_by_force_is_left_out(world: World) -> None:
    world.barred = (ADDRESSES[-1],)
    world.silent = frozenset({"h5"})
    lost = world.hosts.pop(ADDRESSES[-1])
    world.rotate()
    check_rotated(world)
    assert lost.trusted == FIRST.authority.certificate


def test_a_host_that_was_removed_by_force_in_the_middle_has_nothing_that_is_valid_afterwards(world: World) -> None:
    world.fail_at = 3 + len(ADDRESSES) * 2  # all of them have new certificates
    with pytest.raises(CutOffError):
        world.rotate()
    lost = world.hosts.pop(ADDRESSES[-1])
    world.barred, world.fail_at = (ADDRESSES[-1],), None
    world.rotate()
    secrets = check_rotated(world)
    assert lost.signer not in (FIRST.authority.certificate, secrets.authority.certificate)


def test_the_plan_changes_nothing_and_names_every_host(world: World) -> None:
    steps = world.plan()
    assert world.changes == 0
    assert {step.host for step in steps} == {"h1", "h2", "h3", "h4", "h5"}
    assert [step.phase for step in steps if step.host == "h5"] == ["trust", "renew", "reach", "drop", "check"]


def test_an_engine_that_has_no_way_to_do_it_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryProvider, "rotation", lambda _: None)
    with pytest.raises(UsageError, match="is of memory, whose certificates `rotate` cannot replace yet"):
        world.rotate()


def test_of_secrets_on_several_servers_those_of_the_furthest_step_count() -> None:
    new = replace(FIRST, rotation="r")
    begun, switched = replace(FIRST, successor=new), replace(new, predecessor=FIRST)
    assert rotate.most_advanced([FIRST, begun]) is begun
    assert rotate.most_advanced([begun, switched, begun]) is switched
    assert rotate.most_advanced([new, switched]) is switched
    assert ClusterSecrets.loads(begun.dumps()) == begun
    assert ClusterSecrets.loads(switched.dumps()) == switched
