"""Clusters of local hosts for one test, and a look into their hosts from the side."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running import Ended, Running, cms, started
from support.hosts import HandMade, Silent, group_name

from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local import containers, local_hosts
from cloudmesh.cluster.hosts.local.container_config import name_of

MARKER = "/etc/cloudmesh/cluster/marker.json"


@dataclass(frozen=True)
class LocalCluster:
    """A cluster of local hosts, made by the operator whose home is `home`.

    Attributes:
        name: of the cluster.
        nodes: how many hosts `create` is told to make.
    """

    name: str
    nodes: int
    home: Path
    client: Any

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments of its create."""
        return ("create", "-n", self.name, f"--nodes={self.nodes}")

    def boot(self) -> None:
        """Make its hosts, and nothing of them yet."""
        local_hosts.create(self.name, self.nodes, report=Silent())

    @contextmanager
    def creating(self, *more: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
        """Yield its create, running."""
        with started(self.home, *self.words, *more, env=env) as running:
            yield running

    def create(self, *more: str, seconds: float = 180, env: Mapping[str, str] | None = None) -> Ended:
        """Run its create to the end."""
        return cms(self.home, *self.words, *more, seconds=seconds, env=env)

    def info(self) -> dict[str, Any]:
        """Return what `info` says."""
        found: dict[str, Any] = cms(self.home, "info", "-n", self.name, "--output=json").json()
        return found

    def host(self, index: int) -> HandMade:
        """Return a host of it, from 1."""
        return HandMade(self.client.containers.get(name_of(self.name, index)), 0, "")

    def ids(self) -> set[str]:
        """Return the cluster ids in the markers of its hosts."""
        return {found for host in self.hosts() if (found := cluster_id(host))}

    def hosts(self) -> list[HandMade]:
        """Return all its hosts that were made so far."""
        names = containers.list_containers(self.client, self.name)
        return [HandMade(self.client.containers.get(name), 0, "") for name in names]

    def is_whole(self) -> None:
        """AssertionError unless it is healthy, with all its hosts, and of one id."""
        said = self.info()
        assert said["healthy"], said
        assert len(said["nodes"]) == self.nodes, said
        assert self.ids() == {said["id"]}


@contextmanager
def local_cluster(purpose: str, nodes: int, home: Path) -> Iterator[LocalCluster]:
    """Yield a cluster that is not made yet; everything of it is gone afterwards."""
    client, name = docker_client.connect(), group_name(purpose)
    try:
        yield LocalCluster(name, nodes, home, client)
    finally:
        local_hosts.destroy(name)
        client.close()


def cluster_id(host: HandMade) -> str:
    """Return the id of the cluster that a host's marker names; empty where there is no marker."""
    text = host.run(f"cat {MARKER} 2>/dev/null || true")
    return json.loads(text)["id"] if text else ""


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so; AssertionError where the time is over before."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def is_unpacking(host: HandMade) -> bool:
    """Return whether a host is in the middle of installing packages."""
    return host.succeeds("dpkg-query -W -f '${db:Status-Abbrev}\\n' | grep -q '^i[HUF]'")


def packages(host: HandMade) -> str:
    """Return the packages that a host has, configured or not."""
    return host.run("dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'")
