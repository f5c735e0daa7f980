"""How a host is emptied of jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.errors import ApiError
from cloudmesh.cluster.model import Node
from cloudmesh.cluster.nomad.access import asked
from cloudmesh.cluster.nomad.gang import HOST
from cloudmesh.cluster.nomad.tasks import DIGEST

if TYPE_CHECKING:
    import nomad

_POLL_SECONDS = 0.4
# A deadline would end the drivers, and Nomad would run them a second time elsewhere.
_WITHOUT_END = {"Deadline": 0, "IgnoreSystemJobs": False}


def drain(client: nomad.Nomad, node: Node, seconds: float) -> None:
    """Send `node` no more jobs, move elsewhere what can move, and wait for what cannot, such as drivers.

    Raises:
        ApiError: a service is bound to it, or a job still runs on it after so many seconds; it takes jobs as before.
    """
    bound = sorted({str(each["JobID"]) for each in _live(client, node) if _is_service(each) and is_bound(each)})
    if bound:
        raise ApiError(f"services are bound to it, and have data there: {', '.join(bound)}: stop them first")
    asked(lambda: client.node.drain_node_with_spec(node.id, drain_spec=_WITHOUT_END))
    deadline = time.monotonic() + seconds
    moved: set[str] = set()
    while live := _live(client, node):
        for each in live:
            # By itself, Nomad leaves a batch job's tasks where they are; Spark goes on without one worker.
            if can_move(each) and each["ID"] not in moved:
                asked(partial(client.allocation.stop_allocation, each["ID"]))
                moved.add(each["ID"])
        if time.monotonic() > deadline:
            asked(lambda: client.node.drain_node_with_spec(node.id, drain_spec=None, mark_eligible=True))
            ids = ", ".join(sorted({str(each["JobID"]) for each in live}))
            raise ApiError(f"after {seconds:.0f} s these jobs still run on it: {ids}")
        time.sleep(_POLL_SECONDS)


def _live(client: nomad.Nomad, node: Node) -> list[Mapping[str, Any]]:
    found = asked(lambda: client.node.get_allocations(node.id))
    return [each for each in found if each["ClientStatus"] in ("pending", "running")]


def can_move(allocation: Mapping[str, Any]) -> bool:
    """Return whether a task of ours, of a job with an end, is none of those whose end is the job's."""
    job = allocation["Job"]
    if DIGEST not in (job["Meta"] or {}) or _is_service(allocation):
        return False
    return bool(allocation["TaskGroup"] != job["TaskGroups"][0]["Name"]) and not is_bound(allocation)


def _is_service(allocation: Mapping[str, Any]) -> bool:
    return bool(allocation["Job"]["Type"] == "service")


def is_bound(allocation: Mapping[str, Any]) -> bool:
    """Return whether a task can be on no other host."""
    groups = [each for each in allocation["Job"]["TaskGroups"] if each["Name"] == allocation["TaskGroup"]]
    return any(each["LTarget"] == HOST for group in groups for each in group["Constraints"] or [])
