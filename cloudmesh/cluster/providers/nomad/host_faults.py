"""What Nomad does not tell of tasks: that their host was restarted under them, and that it does not answer now.

It is added to Nomad's own JSON of allocations, where `status.py` and `native.py` read it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.nomad import events
from cloudmesh.cluster.providers.nomad.api_client import call
from cloudmesh.cluster.providers.nomad.logs import was_cut_off
from cloudmesh.cluster.providers.nomad.status import SILENT

if TYPE_CHECKING:
    import nomad


_Allocations = Iterable[MutableMapping[str, Any]]
# While a job is followed its hosts are not asked more often.
_BELIEVED_SECONDS = 1.0


class HostFaults:
    """What hosts say of their tasks.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client
        self._answered: dict[str, float] = {}  # when a node answered last, by its id

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
            if allocation["ClientStatus"] == "running" and not self._answers(allocation["NodeID"]):
                allocation["ClientStatus"] = SILENT

    def _answers(self, node_id: str) -> bool:
        now = time.monotonic()
        if self._answered.get(node_id, 0.0) + _BELIEVED_SECONDS > now:
            return True
        try:
            call(partial(self._client.client.stats.read_stats, node_id))
        except NotFoundError:  # "No path to node"
            return False
        except ApiError:  # nothing is known by that
            return True
        self._answered[node_id] = now
        return True
