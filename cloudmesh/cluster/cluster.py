"""The Python API: a cluster by its name, and the jobs on it. The command line is a thin layer over it.

Nothing of a cluster is kept between calls: each method asks the hosts and the engine anew, and closes its connections.
Nothing here writes to stdout or asks a question, except through the `Context` that is passed in.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.context import Context, SshSettings
from cloudmesh.cluster.core.encryption import Lock, Opener
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.model import ClusterInfo, Host, JobStatus, Node, State, Volume
from cloudmesh.cluster.core.report import Report, Silence
from cloudmesh.cluster.hosts import discovery
from cloudmesh.cluster.jobs import moved_data
from cloudmesh.cluster.jobs.service import JobService
from cloudmesh.cluster.lifecycle import add, backup, create, kill, remove, restore, rotate, upgrade
from cloudmesh.cluster.lifecycle.backup_file import Backup
from cloudmesh.cluster.lifecycle.create import Request
from cloudmesh.cluster.lifecycle.phases import PlannedStep
from cloudmesh.cluster.providers import load_provider
from cloudmesh.cluster.providers.base import Chunk, NativeSubmission
from cloudmesh.cluster.providers.open_cluster import OpenCluster, open_cluster, open_discovered
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.native import NativeJob
from cloudmesh.cluster.ssh import host_list, known_hosts
from cloudmesh.cluster.storage.resolve import resolve
from cloudmesh.cluster.storage.service import VolumeService

if TYPE_CHECKING:
    from cloudmesh.cluster.health.check_results import CheckResult
    from cloudmesh.cluster.jobs.result_copy import CopySummary

Hosts = str | Sequence[str | Host]
"""Hosts as users write them, "admin@node[01-10],10.0.0.5:2222", or a list of such texts and of `Host` values."""

OutputHandler = Callable[[Chunk], None]


def connection_context(
    *,
    hosts: Hosts = "",
    user: str = "",
    key: str = "",
    port: int = 0,
    accept_new_hostkeys: bool = False,
    report: Report | None = None,
    interface: str = "",
    mirror: str = "",
    ca_bundle: str = "",
) -> Context:
    """Return how clusters are looked for and hosts are reached.

    Args:
        hosts: where to look for clusters; local hosts and the hosts in our known_hosts file are asked anyhow.
        user: login name for all hosts; empty: as each host or the SSH configuration says.
        key: path of a private key file for all hosts; empty: as the SSH configuration says, the agent.
        port: TCP port of sshd for all hosts; 0: as each host or the SSH configuration says.
        accept_new_hostkeys: accept the keys of hosts that were not met before; a changed key is refused regardless.
        report: is told how long work gets on; None: nobody is.
        interface: device name or CIDR of the network among the hosts; empty: that of the default route.
        mirror: a directory or URL that has the engines' binaries.
        ca_bundle: file of certificate authorities that image builds shall trust as well.

    Raises:
        UsageError: a host, user, port or range is malformed.
    """
    listener = report or Silence()
    return Context(
        settings=SshSettings(known_hosts.default_path(), accept_new_hostkeys, note=listener.note),
        report=listener,
        operator=f"{getpass.getuser()}@{socket.gethostname()}",
        hosts=() if hosts == "" else _parse(hosts, user, port, key),
        user=user,
        key=key,
        port=port,
        interface=interface,
        mirror=mirror,
        ca_bundle=ca_bundle,
    )


class Cluster:
    """A cluster, by its name.

    Every method raises NotFoundError where no host that is asked belongs to a cluster of the name, and other
    `ClusterError`s where hosts or the engine fail.

    Args:
        name: an RFC 1123 label of at most 40 characters.
        context: how its hosts are looked for and reached; None: as `connection_context()` says.

    Raises:
        UsageError: the name is not such a label.
    """

    def __init__(self, name: str, context: Context | None = None) -> None:
        self.name = names.check(name, "cluster name")
        self.context = context or connection_context()

    def __repr__(self) -> str:
        return f"Cluster({self.name!r})"

    # --- which clusters there are ------------------------------------------------------------------------------------

    @classmethod
    def find(cls, name: str, hosts: Hosts = "", *, context: Context | None = None, **options: Any) -> Cluster:
        """Return the cluster called `name`, once one of its hosts has answered.

        Args:
            name: the cluster's name.
            hosts: where to look for it.
            context: how its hosts are reached, in place of `hosts` and `options`.
            options: those of `connection_context`.

        Raises:
            NotFoundError: none of the hosts that were asked belongs to it.
        """
        cluster = cls(name, context or connection_context(hosts=hosts, **options))
        discovery.find(cluster.context, cluster.name).__exit__(None, None, None)
        return cluster

    @classmethod
    def create(
        cls,
        name: str,
        hosts: Hosts = "",
        *,
        provider: str = "nomad",
        servers: int = 1,
        nodes: int = 1,
        debian: str = "13",
        images: Sequence[str] = (),
        version: str = "",
        context: Context | None = None,
        **options: Any,
    ) -> Cluster:
        """Make a cluster, or finish one that was begun; what is healthy is left alone.

        Args:
            name: an RFC 1123 label of at most 40 characters.
            hosts: to make it of, servers first; empty: local hosts, containers that stand for machines.
            provider: "nomad" or "kubernetes".
            servers: how many of the hosts are servers: 1, 3 or 5.
            nodes: how many local hosts, where no hosts are given.
            debian: release of the local hosts: "12" or "13".
            images: names of our images to deliver along the way.
            version: of the engine; empty: the newest that is meant for new clusters, or what the cluster has already.
            context: how hosts are reached, in place of `options`.
            options: those of `connection_context`.

        Raises:
            UsageError: a bad name, number, host or provider; nothing was done.
            LockedError: another operator is changing the cluster or a host.
            HostsError: hosts that failed, each with its cause; the others are in.
        """
        cluster = cls(name, context or connection_context(**options))
        parsed = cluster._parse_new(hosts)
        # They are the cluster's: it is found by them, whatever else is known.
        cluster.context = replace(cluster.context, hosts=(*cluster.context.hosts, *parsed))
        chosen = _list("images", images)
        request = Request(cluster.name, load_provider(provider), parsed, servers, nodes, debian, chosen, version)
        create.create(cluster.context, request)
        return cluster

    @classmethod
    def restore(
        cls,
        name: str,
        path: str | Path,
        hosts: Hosts = "",
        *,
        passphrase: str | Callable[[], str] = "",
        identity: str | Path = "",
        servers: int = 1,
        nodes: int = 1,
        debian: str = "13",
        images: Sequence[str] = (),
        context: Context | None = None,
        **options: Any,
    ) -> Cluster:
        """Make a cluster again from a backup, or finish that: with its id, authorities, secrets, volumes and jobs.

        Args:
            name: of the cluster, as the backup has it.
            path: a file that `backup` wrote.
            hosts: to make it of, servers first; they belong to no cluster. Empty: local hosts.
            passphrase: by which the file is encrypted, or what asks for it.
            identity: file of the private key for which it is encrypted.
            servers: how many of the hosts are servers: 1, 3 or 5.
            nodes: how many local hosts, where no hosts are given.
            debian: release of the local hosts: "12" or "13".
            images: names of our images that are delivered before its jobs begin again.
            context: how hosts are reached, in place of `options`.
            options: those of `connection_context`.

        Raises:
            UsageError: a bad name, number or host; or the file is no backup of this cluster.
            ClusterError: the file is damaged, or cannot be opened by this; or the cluster lives.
            LockedError: another operator is changing a host.
            HostsError: hosts that failed, each with its cause; the others are in.
        """
        cluster = cls(name, context or connection_context(**options))
        opener = _opener(passphrase, identity)
        request, saved = cluster._restoration(path, opener, hosts, servers, nodes, debian, images)
        cluster.context = replace(cluster.context, hosts=(*cluster.context.hosts, *request.hosts))
        restore.restore(cluster.context, request, saved)
        return cluster

    @classmethod
    def list(cls, hosts: Hosts = "", *, context: Context | None = None, **options: Any) -> tuple[ClusterInfo, ...]:
        """Return every cluster that a host belongs to, by what the hosts say; no engine is asked.

        The arguments are those of `find`.
        """
        context = context or connection_context(hosts=hosts, **options)
        clusters = []
        for discovered in discovery.find_all(context):
            with discovered:
                marker = discovered.marker
                clusters.append(ClusterInfo(marker.cluster, marker.id, marker.provider, "", ""))
        return tuple(clusters)

    @classmethod
    def info_of_all(cls, context: Context) -> tuple[ClusterInfo, ...]:
        """Return every cluster that a host belongs to, as its engine tells it."""
        clusters = []
        for discovered in discovery.find_all(context):
            with discovered:
                marker = discovered.marker
                try:
                    clusters.append(open_discovered(context, discovered).info())
                except ClusterError as error:
                    context.report.note(f"cluster {discovered.cluster}: {error}")
                    clusters.append(ClusterInfo(discovered.cluster, marker.id, marker.provider, "", ""))
        return tuple(clusters)

    # --- the cluster and its hosts -----------------------------------------------------------------------------------

    def info(self) -> ClusterInfo:
        """Return the cluster with its nodes; where the engine is silent, as the hosts tell it."""
        with self._open() as opened:
            return opened.info()

    def nodes(self) -> tuple[Node, ...]:
        """Return the cluster's nodes, with what each has free for jobs."""
        return self.info().nodes

    def add(self, hosts: Hosts, *, as_servers: bool = False) -> ClusterInfo:
        """Let more hosts join; jobs keep running.

        Args:
            hosts: to join.
            as_servers: whether they become servers; otherwise workers.

        Raises:
            UsageError: the cluster would have neither 1, 3 nor 5 servers.
            LockedError: another operator is changing the cluster or a host.
            HostsError: hosts that failed, each with its cause; the others are in.
        """
        parsed = self._parse(hosts)
        with self._open() as opened:
            return add.add(opened, parsed, as_servers=as_servers)

    def remove(self, hosts: Hosts, *, force: bool = False, agree: Callable[[str], None] | None = None) -> None:
        """Drain hosts, take them out of the cluster and clean them.

        Output and results that jobs left there move to a server; of a host that is down they are lost.

        Args:
            hosts: of the cluster, as SSH reaches them or by their nodes' names.
            force: go on where jobs cannot be moved away.
            agree: takes the question whether to go on, once the jobs that have output or results there have been
                reported, and raises ClusterError where the answer is no; None: it is not asked.

        Raises:
            NotFoundError: a host is not of this cluster.
            UsageError: a host is a server without which those that live are no majority.
            HostsError: hosts that failed, each with its cause.
        """
        parsed = self._parse(hosts)
        with self._open() as opened:
            remove.remove(opened, parsed, moved_data.move, force=force, agree=agree)

    def upgrade(self, to: str = "", *, agree: Callable[[str], None] | None = None) -> None:
        """Bring the engine to another version, host after host, servers first; jobs go on.

        It stops at the first host that is not healthy afterwards. Called again, it goes on there.

        Args:
            to: the version, "1.10.5"; empty: what new clusters get.
            agree: takes the question whether to go on, and raises ClusterError where the answer is no; None: it is not
                asked.

        Raises:
            UsageError: there is no such version, or the engine does not go there from the one it has.
            LockedError: another operator is changing the cluster.
            HostsError: hosts that are not healthy, or the one at which it stopped.
        """
        with self._open() as opened:
            upgrade.upgrade(opened, to, agree)

    def kill(self, *, force: bool = False) -> None:
        """Take the cluster apart and clean its hosts; local hosts are removed altogether.

        Args:
            force: hosts that cannot be reached are no failure.

        Raises:
            HostsError: hosts that were not cleaned, each with its cause.
        """
        with discovery.find(self.context, self.name) as discovered:
            kill.kill(self.context, discovered, force=force)

    def rotate(self) -> None:
        """Give the cluster new certificates, keys and tokens; jobs go on. What was interrupted is finished.

        Raises:
            UsageError: the cluster's engine has no way to replace its credentials.
            LockedError: another operator is changing the cluster.
            HostsError: hosts that do not answer or that failed, each with its cause.
        """
        with self._open() as opened:
            rotate.rotate(opened)

    def backup(self, path: str | Path, *, passphrase: str = "", recipient: str = "", overwrite: bool = False) -> None:
        """Save the cluster into a file that its owner alone may read: state of the engine, authorities and secrets.

        Without a passphrase and a recipient it is not encrypted: whoever reads it owns the cluster.

        Args:
            path: the file.
            passphrase: by which it is encrypted; empty: none.
            recipient: the public key, of age or SSH, for which it is encrypted; empty: none.
            overwrite: whether a file that is there already is replaced, once the new one is complete.

        Raises:
            UsageError: there is something at the path already, or the key is none.
            LockedError: another operator is changing the cluster.
        """
        request = backup.Request(Path(path).expanduser(), Lock(passphrase, recipient), overwrite)
        with discovery.find(self.context, self.name) as discovered:
            backup.backup(self.context, discovered, request)

    def plan(self, verb: str, hosts: Hosts = "", **options: Any) -> tuple[PlannedStep, ...]:
        """Return what a verb would do on each host, phase by phase; hosts are looked at, nothing is changed.

        Args:
            verb: "create", "add", "remove", "rotate", "upgrade", "kill" or "restore".
            hosts: those of the verb; none of "rotate", "upgrade" and "kill".
            options: of create: provider, servers, nodes, debian, images, version; of add: as_servers; of upgrade: to;
                of restore: path, passphrase, identity, servers, nodes, debian, images.

        Raises:
            UsageError: there is no such verb, or the verb's own check failed.
        """
        if verb == "create":
            provider = load_provider(options.pop("provider", "nomad"))
            return create.plan_create(self.context, Request(self.name, provider, self._parse_new(hosts), **options))
        if verb == "restore":
            opener = _opener(options.pop("passphrase", ""), options.pop("identity", ""))
            request, saved = self._restoration(options.pop("path"), opener, hosts, **options)
            return restore.plan_restore(self.context, request, saved)
        if verb == "kill":
            with discovery.find(self.context, self.name) as discovered:
                return kill.plan_kill(self.context, discovered)
        if verb == "rotate":
            with self._open() as opened:
                return rotate.plan_rotate(opened)
        if verb == "upgrade":
            with self._open() as opened:
                return upgrade.plan_upgrade(opened, **options)
        planners: dict[str, Callable[..., tuple[PlannedStep, ...]]]
        planners = {"add": add.plan_add, "remove": remove.plan_remove}
        if verb not in planners:
            raise UsageError(f"{verb!a} has no plan: use create, add, remove, rotate, upgrade, kill or restore")
        parsed = self._parse(hosts)
        with self._open() as opened:
            return planners[verb](opened, parsed, **options)

    def kubeconfig(self) -> bytes:
        """Return the file by which kubectl reaches the cluster, with an administrator's key for a week in it.

        Raises:
            UsageError: the cluster is not of Kubernetes.
        """
        with self._open() as opened:
            return opened.provider.kubeconfig(opened.spec)

    def test(self) -> tuple[CheckResult, ...]:
        """Prove on every host that jobs find what they need; return a result for each check of each host."""
        from cloudmesh.cluster.health.cluster_test import ClusterTest

        with self._open() as opened:
            info, volumes = opened.info(), VolumeService(opened).list()
            return ClusterTest(opened, info, volumes, JobService(opened, resolve)).run()

    # --- jobs --------------------------------------------------------------------------------------------------------

    def submit(
        self,
        job: str | Path | JobSpec,
        *,
        arguments: Sequence[str] = (),
        params: Mapping[str, object] | None = None,
        secrets: Mapping[str, str] | None = None,
        job_id: str = "",
    ) -> Job:
        """Run a job; return as soon as the engine has accepted it.

        Args:
            job: a job file (.yaml), a Python program (.py), a Java archive (.jar), or a job that was loaded.
            arguments: of the program, in place of the job file's own.
            params: values of the job file's parameters, by name.
            secrets: values of the environment variables that the job's secrets name.
            job_id: exactly-once: the same id and content again is the same job; empty: a new id is made.

        Raises:
            UsageError: the job, a parameter or the id is malformed; nothing was sent.
            ClusterError: the cluster could never run it, or another job has its id.
        """
        spec = load_job(job, arguments, params)
        with self.job_service() as jobs:
            status = jobs.submit(spec, job_id=job_id, secrets=secrets)
        return Job(self, status.id)

    def job(self, job_id: str) -> Job:
        """Return the job with an id; it is asked for when its methods are called.

        Raises:
            UsageError: the id is not an RFC 1123 label.
        """
        return Job(self, job_id)

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job that the engine still knows, the newest first."""
        with self.job_service() as jobs:
            return jobs.jobs()

    def submit_native(
        self, job: NativeJob, *, output: OutputHandler | None = None
    ) -> tuple[tuple[NativeSubmission, ...], tuple[JobStatus, ...]]:
        """Hand a job in the engine's own language over; see `JobService.submit_native`."""
        with self.job_service() as jobs:
            return jobs.submit_native(job, output=output)

    @contextmanager
    def job_service(self) -> Iterator[JobService]:
        """Open the cluster for several calls about its jobs, for the length of a `with` block."""
        with self._open() as opened:
            yield JobService(opened, resolve)

    # --- volumes -----------------------------------------------------------------------------------------------------

    def volumes(self) -> tuple[Volume, ...]:
        """Return the volumes that jobs may name, by name."""
        with self._open() as opened:
            return VolumeService(opened).list()

    def add_volume(self, volume: Volume) -> None:
        """Bring a volume to all hosts and let jobs know it; see `storage.volume_spec` for what makes one.

        Raises:
            ClusterError: there is another volume of that name.
            HostsError: hosts that it could not be brought to; jobs do not know it then.
        """
        names.check(volume.name, "storage name")
        with self._open() as opened:
            VolumeService(opened).add(volume)

    def remove_volume(self, name: str) -> None:
        """Take a volume away from jobs and hosts; its data stays where it is.

        Raises:
            NotFoundError: there is no such volume.
            InUseError: a job that has not ended uses it.
        """
        names.check(name, "storage name")
        with self._open() as opened:
            VolumeService(opened).remove(name)

    def _restoration(
        self,
        path: str | Path,
        opener: Opener,
        hosts: Hosts,
        servers: int = 1,
        nodes: int = 1,
        debian: str = "13",
        images: Sequence[str] = (),
    ) -> tuple[Request, Backup]:
        """Return what `restore` is asked, and the backup that was read."""
        saved = restore.read(self.name, Path(path).expanduser(), opener)
        provider = load_provider(saved.provider)
        return Request(
            self.name, provider, self._parse_new(hosts), servers, nodes, debian, _list("images", images)
        ), saved

    @contextmanager
    def _open(self) -> Iterator[OpenCluster]:
        with open_cluster(self.context, self.name) as opened:
            yield opened

    def _parse(self, hosts: Hosts) -> tuple[Host, ...]:
        return _parse(hosts, self.context.user, self.context.port, self.context.key)

    def _parse_new(self, hosts: Hosts) -> tuple[Host, ...]:
        """Return the hosts to make a cluster of; none where nothing is said, which stands for local hosts."""
        return () if hosts == "" else self._parse(hosts)


class Job:
    """A job on a cluster, by its id.

    Every method raises NotFoundError where the engine knows no such job.

    Args:
        cluster: that it was submitted to.
        job_id: its id.

    Raises:
        UsageError: the id is not an RFC 1123 label.
    """

    def __init__(self, cluster: Cluster, job_id: str) -> None:
        self.cluster = cluster
        self.id = names.check(job_id, "job id")

    def __repr__(self) -> str:
        return f"Job({self.cluster.name!r}, {self.id!r})"

    def status(self) -> JobStatus:
        """Return what the job does now, with its tasks."""
        with self.cluster.job_service() as jobs:
            return jobs.job(self.id)

    def wait(self, output: OutputHandler | None = None) -> JobStatus:
        """Wait until the job has ended; return how. Nothing of it runs any more then.

        Args:
            output: takes the job's output as it comes; None: it is not read.

        Raises:
            UnknownOutcomeError: the engine went away; whether the job succeeded is not known.
        """
        with self.cluster.job_service() as jobs:
            return jobs.wait(self.id, output)

    def logs(self, *, follow: bool = False) -> str:
        """Return what the job has written, both streams as they came; with `follow`, once it has ended."""
        pieces: list[bytes] = []
        with self.cluster.job_service() as jobs:
            jobs.logs(self.id, lambda chunk: pieces.append(chunk.data), follow=follow)
        return b"".join(pieces).decode(errors="replace")

    def results(self, target: str | Path) -> CopySummary:
        """Copy what the job's tasks wrote to $CMS_RESULTS into a folder, a subfolder for each task.

        Raises:
            HostsError: hosts that could not be reached, or whose files were not the same on arrival.
        """
        from cloudmesh.cluster.jobs.results import fetch

        with self.cluster._open() as opened:
            with opened.engine() as engine:
                locations = engine.results(self.id)
            moved = moved_data.find(opened.discovered, self.id)
            return fetch(
                opened.context,
                opened.discovered,
                [location for location in locations if not moved_data.is_moved(location, moved)],
                Path(target).expanduser(),
                moved=moved_data.result_locations(self.id, moved),
            )

    def stop(self) -> JobStatus:
        """End the job and all its tasks; nothing is done where it has ended."""
        with self.cluster.job_service() as jobs:
            return jobs.stop(self.id)

    def succeeded(self) -> bool:
        """Return whether the job has ended well."""
        return self.status().state is State.SUCCEEDED


def load_job(
    job: str | Path | JobSpec, arguments: Sequence[str] = (), params: Mapping[str, object] | None = None
) -> JobSpec:
    """Return a job that the cluster's engine need not know, checked to the last field; nothing is sent.

    Args:
        job: a job file, a Python program, a Java archive, or a job that was loaded already.
        arguments: of the program, in place of the job file's own.
        params: values of the job file's parameters, by name.

    Raises:
        UsageError: anything is wrong; the message names file, line and field.
    """
    from cloudmesh.cluster.spec.load import load

    if isinstance(job, JobSpec):
        return job
    loaded = load(
        str(job), _list("arguments", arguments), {name: _text(value) for name, value in (params or {}).items()}
    )
    if isinstance(loaded, NativeJob):
        raise UsageError(f"{job}: is a job in an engine's own language: use Cluster.submit_native")
    return loaded


def build_images(context: Context, images: Sequence[str] = ()) -> tuple[str, ...]:
    """Build our images on this machine's Docker daemon, all unless some are named; return their tags.

    Raises:
        NotFoundError: no image of ours has that name.
        ImageError: a build failed, or no Docker daemon answers.
    """
    from cloudmesh.cluster.images import catalog
    from cloudmesh.cluster.images.build import build_builtin_image

    return tuple(build_builtin_image(name, context) for name in _list("images", images) or catalog.IMAGES)


def list_images(images: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return our images as rows: name, tag, whether this machine's Docker daemon has it, and its size in MB."""
    from cloudmesh.cluster.docker_daemon.debian_base import image_sizes
    from cloudmesh.cluster.images import catalog

    tags = {name: catalog.tag(name) for name in _list("images", images) or catalog.IMAGES}
    sizes = image_sizes(tags.values())
    return [
        {"name": name, "tag": tag, "built": tag in sizes, "size_mb": sizes.get(tag, 0) // 1_000_000}
        for name, tag in tags.items()
    ]


def fetch_binaries(
    provider: str, *, version: str = "", mirror: str = "", report: Report | None = None
) -> list[dict[str, Any]]:
    """Fetch or build a provider's binaries into the cache; return them as rows.

    Args:
        provider: "nomad" or "kubernetes".
        version: of the engine; empty: the one that new clusters get.
        mirror: a directory or URL that has them.
        report: is told how it gets on; None: nobody is.

    Raises:
        UsageError: there is no such provider, version or mirror.
        BinaryError: no source has them.
    """
    from cloudmesh.cluster.binaries import list_files, provide
    from cloudmesh.cluster.providers import provider_kind

    kind = provider_kind(provider)
    provide(kind, version=version, mirror=mirror, report=report or Silence())
    return [dict(row) for row in list_files(kind, version=version)]


def _parse(hosts: Hosts, user: str, port: int, key: str) -> tuple[Host, ...]:
    """Return the hosts that are named, those of a text with the login that served before.

    Raises:
        UsageError: one is malformed or given twice, or there is none: a list that has come to be empty is a mistake.
    """
    parsed: dict[Host, None] = {}
    for item in [hosts] if isinstance(hosts, str) else hosts:
        items = (item,) if isinstance(item, Host) else host_list.parse_hosts(item, user=user, port=port, key=key)
        for host in items if isinstance(item, Host) else known_hosts.complete(items):
            if host in parsed:
                raise UsageError(f"host {host} is given twice: name it once")
            parsed[host] = None
    if not parsed:
        raise UsageError("no host given")
    return tuple(parsed)


def _opener(passphrase: str | Callable[[], str], identity: str | Path) -> Opener:
    """Return what may open a backup; UsageError: the file of the private key cannot be read."""
    key = b""
    if identity:
        try:
            key = Path(identity).expanduser().read_bytes()
        except OSError as error:
            raise UsageError(f"{identity} cannot be read: {error.strerror or error}") from error
    if callable(passphrase):
        return Opener(passphrase, key)
    return Opener((lambda: passphrase) if passphrase else None, key)


def _list(name: str, texts: Sequence[str]) -> list[str]:
    """Return texts as a list; UsageError: it is a single one, which Python would take for a list of its letters."""
    if isinstance(texts, str):
        raise UsageError(f"{name}={texts[:60]!a} is one text: use a list, {name}=[{texts[:60]!a}]")
    return list(texts)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
