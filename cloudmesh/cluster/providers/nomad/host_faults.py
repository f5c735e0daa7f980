"""What Nomad does not tell of tasks: that their host was restarted under them, and that it does not answer now.

It is added to Nomad's own JSON of allocations, where `status.py` and `native.py` read it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers import base
from cloudmesh.cluster.providers.nomad import events
from cloudmesh.cluster.providers.nomad.api_client import call
from cloudmesh.cluster.providers.nomad.logs import was_cut_off
from cloudmesh.cluster.providers.nomad.status import SILENT

if TYPE_CHECKING:
    import nomad

    from cloudmesh.cluster.core.model import Node


_Allocations = Iterable[MutableMapping[str, Any]]
# While a job is followed its hosts are not asked more often, and not before long where one took more time than this.
_BELIEVED_SECONDS, _SLOW_SECONDS, _TIMEOUT_SECONDS = 1.0, 30.0, 3.0


class HostFaults:
    """What hosts say of their tasks.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._believed: dict[str, float] = {}  # by a node's id, until when it need not be asked again

    def mark_restarted(self, allocations: _Allocations) -> None:
        """Add to the state of a task that a signal ended that its host was restarted, where it was."""
        for allocation in allocations:
            for task, task_state in (allocation["TaskStates"] or {}).items():
                if events.may_be_cut_off(task_state) and was_cut_off(self._client, allocation["ID"], task):
                    task_state[events.HOST_RESTARTED] = allocation["NodeName"]

    def mark_silent(self, allocations: _Allocations) -> None:
        """Set the status of those that run, as far as Nomad knows, on hosts to which it has no connection.

        For some seconds after all hosts have been restarted, Nomad still calls everything running that ran before.
        """
        for allocation in allocations:
            if allocation["ClientStatus"] == "running" and not self.answers(allocation["NodeID"]):
                allocation["ClientStatus"] = SILENT

    def mark_silent_node(self, node: Node) -> Node:
        """Return a node, that is not called ready where Nomad has no connection to it; it may be starting, or gone."""
        return replace(node, status=base.SILENT) if node.status == "ready" and not self.answers(node.id) else node

    def answers(self, node_id: str) -> bool:
        """Return False where Nomad has no connection to a node; of one that is slow nothing is said, which is True."""
        if self._believed.get(node_id, 0.0) > time.monotonic():
            return True
        params, stats = {"node_id": node_id}, self._client.client.stats
        try:
            call(lambda: stats.request(params=params, method="get", timeout=_TIMEOUT_SECONDS), attempts=1)
            believed = _BELIEVED_SECONDS
        except NotFoundError:  # "No path to node"
            return False
        except ApiError:  # it may have much to do; Nomad itself notices by and by where it is lost
            believed = _SLOW_SECONDS
        self._believed[node_id] = time.monotonic() + believed
        return True
