"""What is said where output or results of a job are on a host that is down, or that was taken out of the cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import ApiError, ClusterError, HostError
from cloudmesh.cluster.core.model import JobStatus, Node, State
from cloudmesh.cluster.providers.base import MISSING, Engine, TaskHost

if TYPE_CHECKING:
    from cloudmesh.cluster.jobs.moved_data import MovedData


def find_lost_output(engine: Engine, status: JobStatus, moved: Collection[MovedData] = ()) -> dict[str, ClusterError]:
    """Return why output of a job cannot be had, by host; of several tasks on one host, all are named.

    Args:
        engine: that has the job.
        status: of the job.
        moved: what a server has of it.
    """
    elsewhere = {entry.node_id for entry in moved}
    placed = [task for task in engine.output_hosts(status.id) if task.node.id not in elsewhere]
    if not placed and not moved and status.state is State.SUCCEEDED:
        cause = f"job {status.id}: the engine has nothing of it any more but how it ended: its output is lost"
        return {status.id: ClusterError(cause)}
    return {
        node.name: explain(node, f"the output of {', '.join(tasks)} of job {status.id}")
        for node, tasks in _by_node(placed).items()
        if node.status in (MISSING, "down")
    }


def explain_failure(engine: Engine, job_id: str, error: ClusterError) -> ClusterError:
    """Return the error for output that could not be read, though the engine calls no host of it down."""
    hosts = ", ".join(dict.fromkeys(task.node.name for task in engine.output_hosts(job_id)))
    where = f" on {hosts}" if hosts else ""
    return ApiError(f"job {job_id}: its output{where} cannot be had now, is the host up? {error}")


def explain(node: Node, what: str) -> HostError:
    """Return the error for `what` is on a node that is down or missing."""
    if node.status == MISSING:
        return HostError(node.name, f"it is not in the cluster any more, and {what} is lost with it")
    return HostError(node.name, f"it is down, and {what} is there: start it, and ask again")


def _by_node(placed: Iterable[TaskHost]) -> Mapping[Node, Sequence[str]]:
    tasks: dict[Node, list[str]] = {}
    for task, node in placed:
        tasks.setdefault(node, []).append(task)
    return tasks
