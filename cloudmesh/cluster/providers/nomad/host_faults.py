"""What Nomad does not tell of tasks: that their host was restarted under them, and that it does not answer now.

It is added to Nomad's own JSON of allocations, where `status.py` and `native.py` read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers import base
from cloudmesh.cluster.providers.nomad import events
from cloudmesh.cluster.providers.nomad.api_client import RawRequests, call
from cloudmesh.cluster.providers.nomad.logs import was_cut_off
from cloudmesh.cluster.providers.nomad.status import SILENT

if TYPE_CHECKING:
    import nomad

    from cloudmesh.cluster.core.model import Node


_Allocations = Iterable[MutableMapping[str, Any]]
# While a job is followed its hosts are not asked more often, and not before long where one took more time than this.
_BELIEVED_SECONDS, _SLOW_SECONDS, _TIMEOUT_SECONDS = 1.0, 30.0, 5.0
_AT_ONCE = 16
_BOOTED = "cms_booted"  # key of a node's metadata, see images/nomad/booted.sh
# For so long after the start of its host a task is in doubt, however the clock of the host was set meanwhile.
_JUST_NOW_SECONDS = 600.0
_SAME_SECONDS = 2.0  # by so much the start of a host may be told too late


class _Belief(NamedTuple):
    """What a node has said.

    Attributes:
        until: when it is to be asked again, in seconds of this machine's monotonic clock.
        answers: whether Nomad has a connection to it.
        is_slow: whether it has said nothing in the time that it was given.
        booted: when its host was started, in seconds since the epoch by the host's clock; 0: it is not known.
    """

    until: float
    answers: bool
    is_slow: bool = False
    booted: float = 0.0


class HostFaults:
    """What hosts say of their tasks.

    Args:
        client: of Nomad's API.
        now: returns the cluster's time, in seconds since the epoch.
    """

    def __init__(self, client: nomad.Nomad, now: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._believed: dict[str, _Belief] = {}  # by a node's id

    def mark_restarted(self, allocations: _Allocations) -> None:
        """Add to the state of a task that a signal ended that its host was restarted, where it was."""
        for allocation in allocations:
            for task, task_state in (allocation["TaskStates"] or {}).items():
                if events.may_be_cut_off(task_state) and was_cut_off(self._client, allocation["ID"], task):
                    task_state[events.HOST_RESTARTED] = allocation["NodeName"]

    def ask(self, node_ids: Iterable[str]) -> None:
        """Ask nodes at the same time: those that do not answer are waited for together. It is believed for a moment."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._ask, set(node_ids)))

    def mark_silent(self, allocations: _Allocations) -> None:
        """Set the status of those that run, as far as Nomad knows, and of which their hosts have not said so lately.

        For some seconds after all hosts have been restarted, Nomad still calls everything running that ran before: it
        has no connection to a host, or the host has not told yet what became of what ran there before its start. Of a
        host that does not answer in time, as one that is frozen or has much to do, that is not known.
        """
        for allocation in allocations:
            if allocation["ClientStatus"] != "running":
                continue
            belief = self._ask(allocation["NodeID"])
            if not belief.answers or belief.is_slow or self._is_of_before(allocation, belief.booted):
                allocation["ClientStatus"] = SILENT

    def mark_silent_node(self, node: Node) -> Node:
        """Return a node, that is not called ready where Nomad has no connection to it; it may be starting, or gone."""
        return replace(node, status=base.SILENT) if node.status == "ready" and not self.answers(node.id) else node

    def answers(self, node_id: str) -> bool:
        """Return False where Nomad has no connection to a node; of one that is slow nothing is said, which is True."""
        return self._ask(node_id).answers

    def _ask(self, node_id: str) -> _Belief:
        """Return what a node says, or has said just now."""
        if node_id in self._believed and self._believed[node_id].until > time.monotonic():
            return self._believed[node_id]
        ask = RawRequests("client", self._client).request
        request = partial(ask, "metadata", method="get", params={"node_id": node_id}, timeout=_TIMEOUT_SECONDS)
        try:
            answer = call(lambda: request().json(), attempts=1)
            booted = float((answer["Meta"] or {}).get(_BOOTED, 0))
            belief = _Belief(time.monotonic() + _BELIEVED_SECONDS, True, booted=booted)
        except NotFoundError:  # "No path to node"
            belief = _Belief(time.monotonic() + _BELIEVED_SECONDS, False)
        except ApiError:  # it may have much to do; Nomad itself notices by and by where it is lost
            belief = _Belief(time.monotonic() + _SLOW_SECONDS, True, is_slow=True)
        self._believed[node_id] = belief
        return belief

    def _is_of_before(self, allocation: Mapping[str, Any], booted: float) -> bool:
        """Return whether the newest start of an allocation's tasks was before its host was started, just now."""
        if not 0 < self._now() - booted < _JUST_NOW_SECONDS:
            return False
        starts = [events.parse_time(state.get("StartedAt")) for state in (allocation["TaskStates"] or {}).values()]
        return bool(starts) and max(starts) < booted - _SAME_SECONDS
