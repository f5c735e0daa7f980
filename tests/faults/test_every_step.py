"""Each operation is cut off at each of its phases, in each way, and finished by the same command.

The phases are those that the code itself lists: one that is added is walked through from that day on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from contract.conftest import PROVIDERS
from support.cms import Operator, Running
from support.hosts import ContainerHost, HostCluster, make_unique_name, start_hosts
from support.waiting import wait_until

from cloudmesh.cluster.binaries import provide
from cloudmesh.cluster.binaries.pinned import find_engine, pinned_versions
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.lifecycle import add, create, kill, remove, restore, rotate, upgrade
from cloudmesh.cluster.lifecycle.backup_file import Backup

pytestmark = pytest.mark.cluster

# What a command takes at most: to end after a fault, and to finish the work.
END_SECONDS, FINISH_SECONDS = 300, 400
# How long a host is frozen: for a moment, but while it joins until the client has given up, and what let it in is void.
_FREEZE_SECONDS, _LONG_FREEZE_SECONDS = 12, 90
_SCRIPT_SECONDS = 3  # within which most phases run a script on a host
# Of what was begun on a host: halves of files, and folders of scripts with what was sent to them.
HALVES = r"""
find /etc/cloudmesh /etc/kubernetes /opt/cloudmesh /var/lib/cloudmesh/host -name '*.new' -o -name '*.part' 2>/dev/null
for parent in /tmp /run /var/tmp /dev/shm; do find "$parent" -maxdepth 1 -name 'cms.*'; done
"""
# Without the lock's session, `sh ../step` is what a host runs for us.
_RUNNING_SCRIPT = "pgrep -f '^sh \\.\\./step'"


@dataclass
class Scene(HostCluster):
    """Two hosts, of which an operation makes or changes a cluster."""

    SECONDS = FINISH_SECONDS

    @property
    def backup(self) -> Path:
        """Where a backup of the cluster is."""
        return self.operator.home / "cluster.backup"

    def read_authorities(self) -> set[str]:
        """Return cluster and authority of the hosts that have one."""
        script = "cat /etc/cloudmesh/cluster/ca.pem 2>/dev/null || true"
        return {f"{host.read_cluster_id()} {text}" for host in self.group.hosts if (text := host.run(script))}

    def check_members(self, hosts: Sequence[ContainerHost]) -> None:
        """Do nothing; AssertionError: these hosts are not a healthy cluster, or the others are not clean."""
        for host in self.group.hosts:
            assert host.run(HALVES) == "", host.name
        others = [host for host in self.group.hosts if host not in hosts]
        assert [host.name for host in others if host.succeeds("ls -d /etc/cloudmesh /opt/cloudmesh")] == []
        if hosts:
            info = self.cms("info", "--output=json").json()
            assert info["healthy"], info
            assert {node["name"] for node in info["nodes"]} == {host.where for host in hosts}
            assert {host.read_cluster_id() for host in hosts} == {info["id"]}


@dataclass(frozen=True)
class Operation:
    """An operation that is cut off.

    Attributes:
        phases: names of its phases, in order.
        words: of the command, by the scene.
        prepare: brings the hosts to where it may begin.
        members: how many of the hosts are the cluster's afterwards.
        keeps_authority: whether the cluster has the same authority all the time.
    """

    phases: tuple[str, ...]
    words: Callable[[Scene], tuple[str, ...]]
    prepare: Callable[[Scene], None]
    members: int
    keeps_authority: bool = True


def _create_words(scene: Scene) -> tuple[str, ...]:
    return ("create", "-n", scene.name, "-p", scene.provider, *scene.group.where)


def _have_members(scene: Scene, count: int, *options: str) -> None:
    """Make a cluster of the first `count` hosts, and clean the others."""
    if scene.cms("info").status == 0:
        scene.cms("kill", "--yes").ok()
    if count:
        scene.cms("create", "-p", scene.provider, *options, *scene.group.where[:count]).ok()


def _have_older_members(scene: Scene) -> None:
    """Make a cluster of the version before the one that new clusters get."""
    versions = pinned_versions(scene.provider)
    older = versions[versions.index(find_engine(scene.provider).version) - 1]
    provide(scene.provider, version=older, report=Silence())  # built once, in the cache
    _have_members(scene, 2, f"--engine-version={older}")


def _have_a_backup(scene: Scene) -> None:
    """Make a backup of a cluster of the first host, and clean the hosts."""
    _have_members(scene, 1)
    scene.backup.unlink(missing_ok=True)
    scene.cms("backup", str(scene.backup)).ok()
    _have_members(scene, 0)


def _names(phases: Sequence[Any]) -> tuple[str, ...]:
    return tuple(phase.name for phase in phases)


OPERATIONS = {
    "create": Operation(_names(create.PHASES), _create_words, lambda scene: _have_members(scene, 0), 2),
    "add": Operation(
        _names(add.PHASES),
        lambda scene: ("add", "-n", scene.name, scene.group.where[1]),
        lambda scene: _have_members(scene, 1),
        2,
    ),
    "remove": Operation(
        _names(remove.PHASES),
        lambda scene: ("remove", "-n", scene.name, "--yes", scene.group.where[1]),
        lambda scene: _have_members(scene, 2),
        1,
    ),
    "upgrade": Operation(
        _names(upgrade.PHASES),
        lambda scene: ("upgrade", "-n", scene.name, "--yes"),
        _have_older_members,
        2,
    ),
    "rotate": Operation(
        _names(rotate.PHASES),
        lambda scene: ("rotate", "-n", scene.name),
        lambda scene: _have_members(scene, 2),
        2,
        keeps_authority=False,
    ),
    "restore": Operation(
        _names(restore.phases(cast(Backup, None))),
        lambda scene: ("restore", "-n", scene.name, str(scene.backup), *scene.group.where),
        _have_a_backup,
        2,
    ),
    "kill": Operation(
        _names(kill.PHASES),
        lambda scene: ("kill", "-n", scene.name, "--yes"),
        lambda scene: _have_members(scene, 2),
        0,
    ),
}


def _kill_client(scene: Scene, running: Running, host: ContainerHost, phase: str) -> None:
    running.kill()


def _kill_script(scene: Scene, running: Running, host: ContainerHost, phase: str) -> None:
    wait_until(lambda: running.has_ended or host.succeeds(_RUNNING_SCRIPT), _SCRIPT_SECONDS, pause=0.05)
    host.run("pkill -KILL -f '^sh \\.\\./step' || true")


def _cut_link(scene: Scene, running: Running, host: ContainerHost, phase: str) -> None:
    host.run("pkill -KILL -f '^sshd(-session)?: (ops|root)' || true")


def _freeze(scene: Scene, running: Running, host: ContainerHost, phase: str) -> None:
    host.container.pause()
    try:
        seconds = _LONG_FREEZE_SECONDS if phase == "join" else _FREEZE_SECONDS
        wait_until(lambda: running.has_ended, seconds, pause=0.1)
    finally:
        host.container.unpause()


def _cut_power(scene: Scene, running: Running, host: ContainerHost, phase: str) -> None:
    host.container.kill()
    scene.group.start(host)


FAULTS = {
    "client-killed": _kill_client,
    "script-killed": _kill_script,
    "link-cut": _cut_link,
    "host-frozen": _freeze,
    "power-cut": _cut_power,
}


@pytest.fixture(scope="module", params=PROVIDERS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    name = make_unique_name("steps")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 2) as group:
        yield Scene(request.param, name, group, Operator(tmp_path_factory.mktemp("home"), group.key))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_cut_off_at_any_step_is_finished_by_the_same_command(scene: Scene, operation: str, fault: str) -> None:
    what = OPERATIONS[operation]
    what.prepare(scene)
    authorities: set[str] = set()
    for number, phase in enumerate(what.phases):
        # The second host is the one that comes and goes; where both do, each has its turn.
        host = scene.group.hosts[1 if operation in ("add", "remove") else number % 2]
        if not _interrupt(scene, what, phase, fault, host):
            # The last time it went on to its end; from its beginning, it comes to this phase.
            what.prepare(scene)
            authorities.clear()
            assert _interrupt(scene, what, phase, fault, host), f"{operation} has ended without {phase!r}"
        authorities |= scene.read_authorities()
        assert len(authorities) <= 1 or not what.keeps_authority, phase
    _finish(scene, what)
    scene.check_members(scene.group.hosts[: what.members])
    assert len(scene.read_authorities() | (authorities if what.keeps_authority else set())) <= 1


def _interrupt(scene: Scene, what: Operation, phase: str, fault: str, host: ContainerHost) -> bool:
    """Return whether the operation came to a phase, where it was cut off."""
    with scene.operator.start(*what.words(scene)) as running:
        shown = re.compile(f"^{scene.name}: {phase}$", re.MULTILINE)
        wait_until(lambda: running.has_ended or shown.search(running.stderr), FINISH_SECONDS, pause=0.02)
        if not shown.search(running.stderr):
            outcome = running.wait(END_SECONDS)
            # of a cluster that is gone already, kill finds nothing
            assert outcome.status in (0, 3), outcome
            return False
        FAULTS[fault](scene, running, host, phase)
        if fault != "client-killed":
            outcome = running.wait(END_SECONDS)
            if outcome.status:
                outcome.expect_failure(1)
                assert outcome.errors, outcome
    return True


def _finish(scene: Scene, what: Operation) -> None:
    outcome = scene.cms(*_without_name(what.words(scene)))
    # What was finished before the last fault is not there any more.
    if outcome.status != 3 or what.members == 2:
        outcome.ok()


def _without_name(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a command without "-n NAME", which the scene adds itself."""
    return (words[0], *words[3:])
