"""What remove and upgrade share: the jobs of a host move to others, and those that cannot are waited for."""

from __future__ import annotations

import time
from collections.abc import Collection

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.model import Node
from cloudmesh.cluster.providers.base import Engine

_DRAIN_SECONDS = 300.0
_POLL_SECONDS = 0.4
_DOWN_SECONDS = 5.0  # so often the engine is asked whether the host that is emptied is still up


def move_jobs_away(engine: Engine, node: Node, *, gone: Collection[str] = ("down",)) -> tuple[str, ...]:
    """Send `node` no more jobs, move away the tasks that can move, and wait for the end of others, such as drivers.

    Args:
        engine: of the cluster.
        node: is emptied.
        gone: the states of a node in which nothing is waited for.

    Returns:
        The jobs that still run there, as far as the engine knows, because the host is down.

    Raises:
        ApiError: a service is bound to the node, or a job still runs there in the end; the node takes jobs again.
    """
    engine.begin_drain(node)
    deadline = time.monotonic() + _DRAIN_SECONDS
    asked = 0.0
    while job_ids := engine.move_jobs(node):
        if not asked or time.monotonic() > asked + _DOWN_SECONDS:
            asked = time.monotonic()
            if any(other.id == node.id and other.status in gone for other in engine.nodes()):
                return job_ids
        if time.monotonic() > deadline:
            engine.end_drain(node)
            raise ApiError(f"after {_DRAIN_SECONDS:.0f} s these jobs still run on it: {', '.join(job_ids)}")
        time.sleep(_POLL_SECONDS)
    return ()
