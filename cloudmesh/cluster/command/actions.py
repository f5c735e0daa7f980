"""What each verb of `cms cluster` does: typed values out of the arguments, one call, the result on stdout.

`cms help` imports every module beside the command's own, so this one imports nothing that takes time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.command import native
from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.command.cluster_test import test
from cloudmesh.cluster.command.storage import get, storage
from cloudmesh.cluster.command.submit import submit

if TYPE_CHECKING:
    from cloudmesh.cluster.core.model import ClusterInfo, JobStatus


MAX_NODES = 100

CLUSTER_COLUMNS = ("name", "provider", "healthy", "nodes", "api", "registry")
NODE_COLUMNS = ("name", "address", "roles", "status", "cores", "free_cores", "memory_mb", "free_memory_mb", "version")
JOB_COLUMNS = ("id", "name", "state", "submitted", "duration", "hosts", "exit_code", "reason")
IMAGE_COLUMNS = ("name", "tag", "built", "size_mb")
ENGINE_COLUMNS = ("engine", "version", "file", "source", "sha256", "size", "path")
TASK_COLUMNS = ("name", "host", "state", "exit_code", "reason")


def perform(arguments: Mapping[str, Any]) -> None:
    """Do what docopt's `arguments` say.

    Raises:
        ClusterError: it failed; a UsageError where nothing was done.
    """
    from cloudmesh.cluster.command.console.progress import Progress

    with Progress() as progress:
        call = Arguments(arguments, progress)
        call.check_names()
        next(action for verb, action in ACTIONS.items() if arguments[verb])(call)


def create(call: Arguments) -> None:
    """Make a cluster, or complete it."""
    from cloudmesh.cluster import operations
    from cloudmesh.cluster.core.cluster_spec import SERVER_COUNTS

    cluster = operations.create(
        call.context,
        call.name,
        call.text("--provider"),
        call.hostnames,
        nodes=call.number("--nodes", 1, MAX_NODES),
        servers=call.number("--servers", 1, max(SERVER_COUNTS)),
        images=call.words("--images"),
        debian=call.text("--debian"),
        dryrun=call.flag("--dryrun"),
    )
    if not call.flag("--dryrun"):
        _tell_ready(call, cluster)


def add(call: Arguments) -> None:
    """Let hosts join a cluster."""
    from cloudmesh.cluster import operations

    _tell_ready(call, operations.add(call.context, call.name, call.hostnames))


def remove(call: Arguments) -> None:
    """Take hosts out of a cluster."""
    from cloudmesh.cluster import operations

    hosts = call.hostnames
    call.confirm(f"Remove {', '.join(map(str, hosts))} from cluster {call.name}?")
    operations.remove(call.context, call.name, hosts, force=call.flag("--force"))


def kill(call: Arguments) -> None:
    """Take a cluster apart."""
    from cloudmesh.cluster import operations

    call.confirm(f"Kill cluster {call.name} with all its jobs and data?")
    operations.kill(call.context, call.name, force=call.flag("--force"))


def list_clusters(call: Arguments) -> None:
    """Print the clusters' names."""
    from cloudmesh.cluster import operations

    rows = [{"name": cluster.name, "provider": cluster.provider} for cluster in operations.list_clusters(call.context)]
    call.show(rows, ("name", "provider"), nothing="no cluster found")


def info(call: Arguments) -> None:
    """Show all clusters, or one with its hosts; with --kubeconfig, write kubectl's access to it first."""
    from cloudmesh.cluster import operations

    if file := call.text("--kubeconfig"):
        native.export_kubeconfig(call, str(Path(file).expanduser()))
    if not call.name:
        call.show(operations.info_of_all(call.context), CLUSTER_COLUMNS, nothing="no cluster found")
        return
    cluster = operations.info(call.context, call.name)
    call.show(cluster, CLUSTER_COLUMNS)
    if call.format == "table":
        call.show(cluster.nodes, NODE_COLUMNS)


def jobs(call: Arguments) -> None:
    """Show all jobs, or one with its tasks."""
    from cloudmesh.cluster import operations

    found = operations.jobs(call.context, call.name, call.job_id)
    rows = [_row(call, job) for job in found]
    call.show(rows[0] if call.job_id else rows, JOB_COLUMNS, nothing=f"cluster {call.name} has no jobs")
    if call.job_id and call.format == "table":
        call.show(found[0].tasks, TASK_COLUMNS)


def logs(call: Arguments) -> None:
    """Print a job's log."""
    from cloudmesh.cluster import operations

    operations.logs(call.context, call.name, call.job_id, call.pass_on, follow=call.flag("--follow"))


def stop(call: Arguments) -> None:
    """End a job."""
    from cloudmesh.cluster import operations

    operations.stop(call.context, call.name, call.job_id)


def image(call: Arguments) -> None:
    """List or build images."""
    from cloudmesh.cluster import operations

    if call.flag("build"):
        for tag in operations.images_build(call.context, call.words("IMAGES")):
            call.print(tag)
    else:
        call.show(operations.images_list(call.words("IMAGES")), IMAGE_COLUMNS)


def engines(call: Arguments) -> None:
    """Fetch or build engine programs."""
    from cloudmesh.cluster import operations

    rows = operations.engines(call.text("--provider"), mirror=call.text("--mirror"), report=call.progress)
    call.show(rows, ENGINE_COLUMNS)


def _tell_ready(call: Arguments, cluster: ClusterInfo) -> None:
    call.progress.stop()
    call.progress.note(f"cluster {cluster.name} is ready: {cluster.provider}, hosts {len(cluster.nodes)}")


def _row(call: Arguments, job: JobStatus) -> dict[str, Any]:
    """Return a job with its hosts, and with readable times for a table."""
    import time

    from cloudmesh.cluster.command.console import formats

    row = {**formats.as_plain(job), "hosts": list(job.hosts)}
    if call.format == "table":
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.submitted)) if job.submitted else ""
        row |= {"submitted": when, "duration": f"{job.duration:.0f} s"}
    return row


# `image` and `storage` stand before `list`, `add` and `remove`, which are words of theirs too.
ACTIONS: Mapping[str, Callable[[Arguments], None]] = {
    "image": image,
    "storage": storage,
    "get": get,
    "create": create,
    "add": add,
    "remove": remove,
    "kill": kill,
    "list": list_clusters,
    "info": info,
    "submit": submit,
    "jobs": jobs,
    "logs": logs,
    "stop": stop,
    "test": test,
    "engines": engines,
}
