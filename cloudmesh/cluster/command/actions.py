"""What each verb of `cms cluster` does: typed values out of the arguments, one call, the result on stdout.

`cms help` imports every module beside the command's own, so this one imports nothing that takes time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.command.passphrase import new_passphrase, passphrase_source
from cloudmesh.cluster.command.schema import schema
from cloudmesh.cluster.command.storage import get, storage
from cloudmesh.cluster.command.submit import submit
from cloudmesh.cluster.core.errors import ClusterError, UsageError

MAX_NODES = 100

CLUSTER_COLUMNS = ("name", "provider", "healthy", "nodes", "api", "registry")
NODE_COLUMNS = (
    "name",
    "node",
    "address",
    "roles",
    "status",
    "cores",
    "free_cores",
    "memory_mb",
    "free_memory_mb",
    "version",
)
JOB_COLUMNS = ("id", "name", "state", "submitted", "duration", "hosts", "exit_code", "reason")
IMAGE_COLUMNS = ("name", "tag", "built", "size_mb")
ENGINE_COLUMNS = ("engine", "version", "file", "source", "sha256", "size", "path")
TASK_COLUMNS = ("name", "host", "state", "exit_code", "reason")
STEP_COLUMNS = ("host", "phase", "what", "undo")
CHECK_COLUMNS = ("check", "host", "result", "cause", "remedy")


def perform(arguments: Mapping[str, Any]) -> None:
    """Do what docopt's `arguments` say.

    Raises:
        ClusterError: it failed; a UsageError where nothing was done.
    """
    from cloudmesh.cluster.command.console.progress import Progress

    with Progress() as progress:
        typed = Arguments(arguments, progress)
        typed.check_names()
        next(action for verb, action in ACTIONS.items() if arguments[verb])(typed)


def create(arguments: Arguments) -> None:
    """Make a cluster, or complete it; with --dryrun, show what would be done."""
    from cloudmesh.cluster.cluster import Cluster

    options = {
        "provider": arguments.text("--provider"),
        "version": arguments.text("--engine-version"),
        **_options_for_new_hosts(arguments),
    }
    if arguments.flag("--dryrun"):
        steps = arguments.cluster.plan("create", arguments.hostnames or "", **options)
        arguments.show(steps, STEP_COLUMNS, nothing="nothing to do")
        return
    Cluster.create(arguments.name, arguments.hostnames or "", context=arguments.context, **options)


def _options_for_new_hosts(arguments: Arguments) -> dict[str, Any]:
    from cloudmesh.cluster.core.cluster_spec import SERVER_COUNTS

    return {
        "nodes": arguments.number("--nodes", 1, MAX_NODES),
        "servers": arguments.number("--servers", 1, max(SERVER_COUNTS)),
        "images": arguments.words("--images"),
        "debian": arguments.text("--debian"),
    }


def add(arguments: Arguments) -> None:
    """Let hosts join a cluster."""
    if arguments.flag("--dryrun"):
        _show_plan(arguments, "add", as_servers=arguments.flag("--server"))
    else:
        arguments.cluster.add(arguments.hostnames, as_servers=arguments.flag("--server"))


def remove(arguments: Arguments) -> None:
    """Take hosts out of a cluster."""
    hosts = arguments.hostnames
    if arguments.flag("--dryrun"):
        _show_plan(arguments, "remove")
        return
    arguments.cluster.remove(hosts, force=arguments.flag("--force"), agree=arguments.confirm)


def rotate(arguments: Arguments) -> None:
    """Give a cluster new certificates, keys and tokens."""
    if arguments.flag("--dryrun"):
        _show_plan(arguments, "rotate")
        return
    arguments.cluster.rotate()


def upgrade(arguments: Arguments) -> None:
    """Bring a cluster's engine to another version."""
    to = arguments.text("--to")
    if arguments.flag("--dryrun"):
        _show_plan(arguments, "upgrade", to=to)
        return
    arguments.cluster.upgrade(to, agree=arguments.confirm)


def kill(arguments: Arguments) -> None:
    """Take a cluster apart."""
    if arguments.flag("--dryrun"):
        _show_plan(arguments, "kill")
        return
    arguments.confirm(f"Kill cluster {arguments.name} with all its jobs and data?")
    arguments.cluster.kill(force=arguments.flag("--force"))


def backup(arguments: Arguments) -> None:
    """Save a cluster into a file."""
    file = Path(arguments.text("FILE")).expanduser()
    overwrite = arguments.flag("--yes") or (file.is_file() and arguments.is_agreed(f"Write over {file}?"))
    passphrase, recipient = new_passphrase(arguments), arguments.text("--recipient")
    arguments.cluster.backup(file, passphrase=passphrase, recipient=recipient, overwrite=overwrite)


def restore(arguments: Arguments) -> None:
    """Make a cluster again from a backup; with --dryrun, show what would be done."""
    from cloudmesh.cluster.cluster import Cluster

    options = {
        "path": arguments.text("FILE"),
        "passphrase": passphrase_source(arguments),
        "identity": arguments.text("--identity"),
        **_options_for_new_hosts(arguments),
    }
    if arguments.flag("--dryrun"):
        steps = arguments.cluster.plan("restore", arguments.hostnames or "", **options)
        arguments.show(steps, STEP_COLUMNS, nothing="nothing to do")
        return
    Cluster.restore(arguments.name, hosts=arguments.hostnames or "", context=arguments.context, **options)


def list_clusters(arguments: Arguments) -> None:
    """Print the clusters' names."""
    from cloudmesh.cluster.cluster import Cluster

    clusters = Cluster.list(context=arguments.context)
    rows = [{"name": cluster.name, "provider": cluster.provider} for cluster in clusters]
    arguments.show(rows, ("name", "provider"), nothing="no cluster found")


def info(arguments: Arguments) -> None:
    """Show all clusters, or one with its hosts; with --kubeconfig, write kubectl's access to it first."""
    if file := arguments.text("--kubeconfig"):
        _export_kubeconfig(arguments, str(Path(file).expanduser()))
    if not arguments.name:
        from cloudmesh.cluster.cluster import Cluster

        clusters = Cluster.info_of_all(arguments.context)
        arguments.show(clusters, CLUSTER_COLUMNS, nothing="no cluster found")
        return
    cluster = arguments.cluster.info()
    arguments.show(cluster, CLUSTER_COLUMNS)
    if arguments.format == "table":
        arguments.show(cluster.nodes, NODE_COLUMNS)


def jobs(arguments: Arguments) -> None:
    """Show all jobs, or one with its tasks."""
    from cloudmesh.cluster.command.console.formats import job_row

    cluster = arguments.cluster
    statuses = (cluster.job(arguments.job_id).status(),) if arguments.job_id else cluster.jobs()
    rows = [job_row(status, arguments.format) for status in statuses]
    nothing = f"cluster {arguments.name} has no jobs"
    arguments.show(rows[0] if arguments.job_id else rows, JOB_COLUMNS, nothing=nothing)
    if arguments.job_id and arguments.format == "table":
        arguments.show(statuses[0].tasks, TASK_COLUMNS)


def logs(arguments: Arguments) -> None:
    """Print a job's log, or write it into a file."""
    from cloudmesh.cluster.command.console import private_file

    file, follow = find_log_file(arguments), arguments.flag("--follow")
    with arguments.cluster.job_service() as service:
        if not file:
            service.logs(arguments.job_id, arguments.write_output, follow=follow)
            return
        with private_file.open_new(file) as write:
            service.logs(arguments.job_id, lambda chunk: write(chunk.data), follow=follow)
    arguments.progress.note(f"{file} has {Path(file).stat().st_size:,} bytes")


def stop(arguments: Arguments) -> None:
    """End a job."""
    arguments.cluster.job(arguments.job_id).stop()


def test(arguments: Arguments) -> None:
    """Test a cluster, and show what was found."""
    from cloudmesh.cluster.health.check_results import FAILED

    arguments.check_format()
    results = arguments.cluster.test()
    arguments.show(results, CHECK_COLUMNS)
    if failed := [result for result in results if result.result == FAILED]:
        where = ", ".join(dict.fromkeys(result.host for result in failed if result.host != "-")) or "the cluster"
        raise ClusterError(f"{len(failed)} of {len(results)} checks of cluster {arguments.name} failed: {where}")


def image(arguments: Arguments) -> None:
    """List or build images."""
    from cloudmesh.cluster.cluster import build_images, list_images

    if arguments.flag("build"):
        for tag in build_images(arguments.context, arguments.words("IMAGES")):
            arguments.print(tag)
    else:
        arguments.show(list_images(arguments.words("IMAGES")), IMAGE_COLUMNS)


def engines(arguments: Arguments) -> None:
    """Fetch or build an engine's binaries."""
    from cloudmesh.cluster.cluster import fetch_binaries

    version, mirror = arguments.text("--engine-version"), arguments.text("--mirror")
    rows = fetch_binaries(arguments.text("--provider"), version=version, mirror=mirror, report=arguments.progress)
    arguments.show(rows, ENGINE_COLUMNS)


def find_log_file(arguments: Arguments) -> str:
    """Return the file into which a log is to be written; empty: it is to be printed.

    Raises:
        UsageError: it is there already, or is called as a format.
    """
    from cloudmesh.cluster.command.console import formats, private_file

    name = arguments.text("--output")
    if name == formats.DEFAULT:
        return ""
    if name in formats.FORMATS:
        raise UsageError(f"--output={name}: a log has no format; for a file of that name, write --output=./{name}")
    file = str(Path(name).expanduser())
    private_file.check(file)
    return file


def _show_plan(arguments: Arguments, verb: str, **options: bool | str) -> None:
    hosts = arguments.hostnames if arguments.arguments["HOSTNAMES"] else ""
    arguments.show(arguments.cluster.plan(verb, hosts, **options), STEP_COLUMNS, nothing="nothing to do")


def _export_kubeconfig(arguments: Arguments, file: str) -> None:
    """Write the file by which kubectl reaches the cluster."""
    from cloudmesh.cluster.command.console import private_file

    if not arguments.name:
        raise UsageError("--kubeconfig needs the cluster's name: -n NAME")
    private_file.check(file)
    private_file.write(file, arguments.cluster.kubeconfig())
    arguments.progress.note(
        f"{file} holds an administrator's key for cluster {arguments.name}, for a week; the API must be reachable at "
        "the address in it: else have `ssh -L 6443:127.0.0.1:6443` lead there, and set the address to 127.0.0.1"
    )


# `image` and `storage` stand before `list`, `add` and `remove`, which are words of theirs too.
ACTIONS: Mapping[str, Callable[[Arguments], None]] = {
    "image": image,
    "storage": storage,
    "get": get,
    "create": create,
    "add": add,
    "remove": remove,
    "rotate": rotate,
    "upgrade": upgrade,
    "kill": kill,
    "backup": backup,
    "restore": restore,
    "list": list_clusters,
    "info": info,
    "submit": submit,
    "jobs": jobs,
    "logs": logs,
    "stop": stop,
    "test": test,
    "engines": engines,
    "schema": schema,
}
