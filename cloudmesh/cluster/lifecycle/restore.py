"""A cluster is made again from a backup: `create`, but that its first server begins with what there was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cloudmesh.cluster.binaries.pinned import pinned_versions, version_numbers
from cloudmesh.cluster.core.cluster_spec import ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.encryption import Opener
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.model import ClusterInfo
from cloudmesh.cluster.core.names import list_short
from cloudmesh.cluster.hosts import discovery
from cloudmesh.cluster.lifecycle import backup_file, create, plan
from cloudmesh.cluster.lifecycle.backup_file import Backup
from cloudmesh.cluster.lifecycle.create import Creation
from cloudmesh.cluster.lifecycle.installation import all_hosts
from cloudmesh.cluster.lifecycle.phases import Phase, PlannedStep

_NAMED = 5


def read(cluster: str, path: Path, opener: Opener) -> Backup:
    """Return the backup of a cluster.

    Args:
        cluster: the cluster's name.
        path: the file.
        opener: what may open it, where it is encrypted.

    Raises:
        UsageError: it is no backup, or one of another cluster; or it takes a passphrase or key of which there is none.
        ClusterError: it is damaged, the passphrase or key is another, or its engine is newer than those pinned here.
    """
    backup = backup_file.read(path, opener)
    if backup.cluster != cluster:
        raise UsageError(f"{path} is a backup of cluster {backup.cluster}: use -n {backup.cluster}")
    pinned = pinned_versions(backup.provider)[-1]
    if version_numbers(backup.version) > version_numbers(pinned):
        raise ClusterError(
            f"{path} is of {backup.provider} {backup.version}, and this version of cms cluster brings {pinned}, which "
            "need not understand it: use the version that made it, or a later one"
        )
    return backup


def restore(context: Context, request: create.Request, backup: Backup) -> ClusterInfo:
    """Make the cluster of a backup again, or finish that.

    Args:
        context: the operator's side.
        request: which hosts become the cluster.
        backup: of the cluster.

    Raises:
        ClusterError: the cluster lives.
        LockedError: another operator is changing a host.
        HostsError: hosts that failed, each with its cause; the others are in.
    """
    return create.create(context, request, phases(backup))


def plan_restore(context: Context, request: create.Request, backup: Backup) -> tuple[PlannedStep, ...]:
    """Return what `restore` would do on each host; the hosts are looked at and nothing is changed."""
    return create.plan_create(context, request, phases(backup))


def phases(backup: Backup) -> tuple[Phase[Creation], ...]:
    """Return the phases of `create`, of which some go by a backup.

    Images that were asked for are there before the engine starts: it begins again at once what ran.
    """
    by_name = {phase.name: phase for phase in create.PHASES}
    images = by_name.pop("images")
    by_name["plan"] = replace(by_name["plan"], act=partial(_plan, backup))
    by_name["preflight"] = replace(by_name["preflight"], act=partial(_preflight, backup))
    what = "put the backup's state in place, forget the hosts that there were, start the engine"
    by_name["bootstrap"] = replace(by_name["bootstrap"], what=what)
    by_name["jobs"] = Phase("jobs", "say which jobs begin again", _note_jobs, all_hosts)
    order = list(by_name.values())
    position = list(by_name).index("binaries") + 1
    return (*order[:position], images, *order[position:])


def _plan(backup: Backup, run: Creation) -> None:
    def begin(servers: Sequence[str]) -> ClusterSpec:
        return ClusterSpec(
            backup.cluster,
            backup.id,
            backup.provider,
            tuple(servers),
            replace(backup.secrets, backup=backup.digest),
            # A host of the cluster as it was, should it come back, has an older list of the servers.
            backup.generation + 1,
            # An engine reads what one of its own version wrote; of another it may not.
            version=backup.version if backup.version in pinned_versions(backup.provider) else "",
        )

    create.plan_servers(run, begin)
    if (run.spec.id, run.spec.secrets.backup) != (backup.id, backup.digest):
        raise _lives(run, [str(host) for host, host_facts in run.facts.items() if host_facts.marker])
    run.snapshot, run.barred = backup.snapshot, backup.barred


def _preflight(backup: Backup, run: Creation) -> None:
    plan.check_hosts(run.facts, run.provider, run.spec)
    own = {host_facts.address for host_facts in run.facts.values()}
    for discovered in discovery.find_all(run.context):
        with discovered:
            others = [str(host) for host, marker in discovered.markers.items() if marker.address not in own]
            # Once it was restored, more hosts may have joined it.
            is_restored = run.started and discovered.marker.id == backup.id
            if discovered.cluster == run.cluster and others and not is_restored:
                raise _lives(run, others)
    create.find_pending(run)


def _lives(run: Creation, hosts: Sequence[str]) -> ClusterError:
    return ClusterError(
        f"cluster {run.cluster} lives, on {list_short(hosts, _NAMED)}, and nothing was changed: a backup takes the "
        f"place of a cluster that is no more, `cms cluster kill -n {run.cluster}` ends this one"
    )


def _note_jobs(run: Creation) -> None:
    """Say which jobs had not ended when the backup was made; what was done since is not known to it."""
    if not run.pending:
        return
    with run.engine() as engine:
        going = [job.id for job in engine.jobs() if not job.state.ended]
    if going:
        run.context.report.note(
            f"not ended when the backup was made: {list_short(going, _NAMED)}. They begin again as far as their image "
            "is there; one that was made for a job, of its files, is not: submit such a job anew"
        )
