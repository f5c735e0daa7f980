"""What goes to the engine as it is, and what its own tools get from us: native jobs, kubectl's access.

Imported with the command, so it imports nothing that takes time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.core.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from cloudmesh.cluster.core.model import JobStatus
    from cloudmesh.cluster.spec.native import NativeJob


def submit_native(call: Arguments, job: NativeJob) -> None:
    """Run a job in the engine's own language."""
    import json

    from cloudmesh.cluster import operations
    from cloudmesh.cluster.core.model import State

    if call.job_id:
        raise UsageError(f"--id is for job files of ours: {job.source} names its jobs itself")
    if call.flag("--dryrun"):
        call.print(json.dumps(operations.plan_native(call.context, call.name, job), indent=2))
        return
    output = None if call.flag("--detach") else call.pass_on
    accepted, ended = operations.submit_native(call.context, call.name, job, output=output)
    if call.flag("--detach"):
        for each in accepted:
            call.print(each.job_id or each.name)
    if failed := [status for status in ended if status.state is not State.SUCCEEDED]:
        raise ClusterError("; ".join(map(outcome, failed)))


def outcome(status: JobStatus) -> str:
    """Return in words how a job ended."""
    return f"job {status.id} {status.state}{f': {status.reason}' if status.reason else ''}"


def export_kubeconfig(call: Arguments, file: str) -> None:
    """Write the file by which kubectl reaches the cluster."""
    from cloudmesh.cluster import operations
    from cloudmesh.cluster.command.console import private_file

    if not call.name:
        raise UsageError("--kubeconfig needs the cluster's name: -n NAME")
    private_file.check(file)
    private_file.write(file, operations.kubeconfig(call.context, call.name))
    call.progress.note(
        f"{file} holds an administrator's key for cluster {call.name}, for a week; the API must be reachable at the "
        "address in it: else have `ssh -L 6443:127.0.0.1:6443` lead there, and set the address to 127.0.0.1"
    )
