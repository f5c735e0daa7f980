"""The volumes of one cluster: listed, added, removed. The engine keeps them, the hosts hold directories and mounts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import ClusterError, InUseError, NotFoundError
from cloudmesh.cluster.core.model import Host, Volume
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.hosts import lock
from cloudmesh.cluster.hosts.discovery import connection_to, hosts_of
from cloudmesh.cluster.hosts.volumes import apply_on_host
from cloudmesh.cluster.providers.base import Engine
from cloudmesh.cluster.providers.open_cluster import OpenCluster
from cloudmesh.cluster.ssh import parallel

_ENDING_SECONDS, _POLL_SECONDS = 60.0, 0.5


class VolumeService:
    """The volumes of a cluster.

    Args:
        opened: the cluster.
    """

    def __init__(self, opened: OpenCluster) -> None:
        self._opened = opened

    def list(self) -> tuple[Volume, ...]:
        """Return all volumes, by name."""
        with self._opened.engine() as engine:
            return engine.volumes()

    def add(self, volume: Volume) -> None:
        """Bring a volume to all hosts, and let jobs know it; the same again finishes what was interrupted.

        Raises:
            UsageError: the name is not an RFC 1123 label.
            ClusterError: there is another volume of that name.
            NotFoundError: there is no such HadoopService.
            HostsError: hosts that it could not be brought to; jobs do not know it then.
        """
        names.check(volume.name, "storage name")
        with self._locked(), self._opened.engine() as engine:
            _refuse_namesake(volume, engine.volumes())
            if volume.kind == "hadoop":
                service = volume.settings["service"]
                volume = replace(volume, secrets={"secret": engine.secret(engine.job(service).id)})
            self._apply_on_all_hosts(engine, "add", volume)
            engine.put_volume(volume)

    def remove(self, name: str) -> None:
        """Take a volume away from jobs and hosts; its data stays where it is.

        Raises:
            UsageError: the name is not an RFC 1123 label.
            NotFoundError: there is no such volume.
            InUseError: a job that has not ended uses it; nothing was done.
            HostsError: hosts that it could not be taken away from.
        """
        names.check(name, "storage name")
        with self._locked(), self._opened.engine() as engine:
            volumes = {volume.name: volume for volume in engine.volumes()}
            if name not in volumes:
                have = f"it has {', '.join(volumes)}" if volumes else "it has none"
                raise NotFoundError(f"cluster {self._opened.spec.cluster} has no storage {name}: {have}")
            _remove_from_engine(engine, name)
            try:
                self._apply_on_all_hosts(engine, "remove", volumes[name])
            except ClusterError:
                engine.put_volume(volumes[name])  # so that the same command finds it again, and finishes
                raise

    def _locked(self) -> AbstractContextManager[object]:
        return lock.hold(self._opened.server, self._opened.spec.cluster, self._opened.context.operator)

    def _apply_on_all_hosts(self, engine: Engine, verb: str, volume: Volume) -> None:
        if not volume.directory:
            return
        context, discovered = self._opened.context, self._opened.discovered
        with ExitStack() as stack:

            def apply(host: Host) -> None:
                apply_on_host(connection_to(host, discovered, context, stack), verb, [volume], context)

            hosts = hosts_of(engine.nodes(), discovered, context)
            parallel.run_on_hosts(apply, {host: host for host in hosts}).or_raise()


def _refuse_namesake(volume: Volume, volumes: Sequence[Volume]) -> None:
    for other in volumes:
        if other.name == volume.name and (other.kind, other.settings) != (volume.kind, volume.settings):
            raise ClusterError(
                f"storage {volume.name} is {other.kind} {other.source} already: remove it first, or take another name"
            )


def _remove_from_engine(engine: Engine, name: str) -> None:
    """Remove a volume from the engine, unless jobs use it; they may use it by its URI or keys, without a mount."""
    jobs = engine.jobs()
    if users := [job.id for job in jobs if name in job.volumes and not job.state.ended]:
        raise InUseError(name, users)
    ended = {job.id for job in jobs if job.state.ended}

    def is_ending(error: BaseException) -> bool:
        """Whether only the last tasks of jobs that have ended use it, which take a moment to end."""
        return isinstance(error, InUseError) and ended.issuperset(error.jobs)

    retry(lambda: engine.remove_volume(name), is_ending, seconds=_ENDING_SECONDS, pause_seconds=_POLL_SECONDS)
