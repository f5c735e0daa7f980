"""The places for data of one cluster: told, added, removed. The policy; the engine keeps them, the hosts hold them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, InUseError, NotFoundError
from cloudmesh.cluster.core.model import Host, Volume
from cloudmesh.cluster.hosts import lock
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster, connection_to, hosts_of
from cloudmesh.cluster.hosts.volumes import apply_on_host
from cloudmesh.cluster.providers.base import Engine
from cloudmesh.cluster.ssh import parallel

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_ENDING_SECONDS, _POLL_SECONDS = 60.0, 0.5


class VolumeService:
    """The places of a cluster.

    Args:
        context: the operator's side.
        membership: the cluster.
        api: opens the engine's API.
    """

    def __init__(
        self, context: Context, membership: DiscoveredCluster, api: Callable[[], AbstractContextManager[Engine]]
    ) -> None:
        self._context = context
        self._membership = membership
        self._api = api

    def list(self) -> tuple[Volume, ...]:
        """Return all places, by name."""
        with self._api() as api:
            return api.volumes()

    def add(self, place: Volume) -> None:
        """Bring a place to all hosts, and let jobs know it; the same again finishes what was cut off.

        Raises:
            ClusterError: there is another place of that name.
            NotFoundError: there is no such HadoopService.
            HostsError: hosts that it could not be brought to; jobs do not know it then.
        """
        names.check(place.name, "storage name")
        with self._locked(), self._api() as api:
            self._refuse_other(place, api.volumes())
            if place.kind == "hadoop":
                service = place.settings["service"]
                place = replace(place, secrets={"secret": api.secret(api.job(service).id)})
            self._on_all_hosts(api, "add", place)
            api.put_volume(place)

    def remove(self, name: str) -> None:
        """Take a place away from jobs and hosts; its data stays where it is.

        Raises:
            NotFoundError: there is no such place.
            InUseError: a job that has not ended uses it; nothing was done.
            HostsError: hosts that it could not be taken away from.
        """
        names.check(name, "storage name")
        with self._locked(), self._api() as api:
            known = {place.name: place for place in api.volumes()}
            if name not in known:
                have = f"it has {', '.join(known)}" if known else "it has none"
                raise NotFoundError(f"cluster {self._membership.cluster} has no storage {name}: {have}")
            _forget(api, name)
            try:
                self._on_all_hosts(api, "remove", known[name])
            except ClusterError:
                api.put_volume(known[name])  # so that the same command finds it again, and finishes
                raise

    def _locked(self) -> AbstractContextManager[object]:
        return lock.hold(self._membership.first_server(), self._membership.cluster, self._context.operator)

    def _refuse_other(self, place: Volume, known: Sequence[Volume]) -> None:
        for other in known:
            if other.name == place.name and (other.kind, other.settings) != (place.kind, place.settings):
                raise ClusterError(
                    f"storage {place.name} is {describe(other)} already: remove it first, or take another name"
                )

    def _on_all_hosts(self, api: Engine, verb: str, place: Volume) -> None:
        if not place.directory:
            return
        with ExitStack() as stack:

            def act(host: Host) -> None:
                apply_on_host(connection_to(host, self._membership, self._context, stack), verb, [place], self._context)

            hosts = hosts_of(api.nodes(), self._membership, self._context)
            parallel.run_on_hosts(act, {host: host for host in hosts}).or_raise()


def _forget(api: Engine, name: str) -> None:
    """Have the engine forget a place, unless jobs use it, though it be by its URI or keys alone."""
    jobs = api.jobs()
    if users := [job.id for job in jobs if name in job.volumes and not job.state.ended]:
        raise InUseError(name, users)
    ended, deadline = {job.id for job in jobs if job.state.ended}, time.monotonic() + _ENDING_SECONDS
    while True:
        try:
            api.remove_volume(name)
            return
        except InUseError as error:
            # The last tasks of a job that has ended take a moment to end.
            if not ended.issuperset(error.jobs) or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS)


def add_volumes_to_hosts(api: Engine, connections: Mapping[Host, Connection], context: Context) -> None:
    """Bring the cluster's places to hosts that have just joined.

    Raises:
        HostsError: hosts that one could not be brought to.
    """
    places = [place for place in api.volumes() if place.directory]
    if not places or not connections:
        return
    parallel.run_on_hosts(lambda connection: apply_on_host(connection, "add", places, context), connections).or_raise()
    for place in places:
        api.put_volume(place)


def describe(place: Volume) -> str:
    """Return in words what a place is."""
    return f"{place.kind} {place.source}"
