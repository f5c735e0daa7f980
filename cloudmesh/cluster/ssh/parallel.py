"""Runs functions on many hosts in parallel. Every host has its own result or error; a failed host affects no other."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh.connect import connect

if TYPE_CHECKING:
    from cloudmesh.cluster.core.context import SshSettings
    from cloudmesh.cluster.ssh.connection import Connection

_LATE_SECONDS = 60.0  # a call that was not waited for ends within this time
T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True)
class Outcomes(Generic[V]):
    """The results of something that was done on several hosts.

    Attributes:
        values: results of the hosts where it succeeded, in the order of the hosts given.
        failures: errors of the other hosts, by `str(host)`, in the same order.
        silent: hosts that were not waited for, see `run_on_hosts`.
    """

    values: Mapping[Host, V]
    failures: Mapping[str, ClusterError]
    silent: Sequence[Host] = ()

    def or_raise(self) -> Mapping[Host, V]:
        """Return the values if no host failed.

        Raises:
            ClusterError: the error of the host that failed, where it is only one.
            HostsError: several hosts failed.
        """
        if len(self.failures) > 1:
            raise HostsError(self.failures)
        for failure in self.failures.values():
            raise failure
        return self.values


def run_on_hosts(
    function: Callable[[T], V],
    items: Mapping[Host, T],
    limit: int = 32,
    *,
    patience: float | None = None,
    waited_for: Collection[Host] = (),
    discard: Callable[[V], object] = lambda _: None,
) -> Outcomes[V]:
    """Call `function` with the item of every host, in parallel.

    On Ctrl-C, KeyboardInterrupt is raised at once; running calls go on in the background, and no new ones are started.

    Args:
        function: is called in other threads.
        items: the function's argument, by host.
        limit: how many calls may run at the same time.
        patience: where no call has succeeded for so many seconds, the rest is not waited for; None: all are.
        waited_for: hosts that are waited for in any case.
        discard: gets the value of each call that has ended after it was waited for.
    """
    waiting: queue.SimpleQueue[tuple[Host, T]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[Host, V | None, ClusterError | None]] = queue.SimpleQueue()
    stop = threading.Event()
    for item in items.items():
        waiting.put(item)
    for _ in range(min(limit, len(items))):
        # Daemon threads, unlike those of an executor, do not keep an interrupted program from ending.
        threading.Thread(target=_process_hosts, args=(function, waiting, ended, stop), daemon=True).start()
    try:
        results = _collect(ended, items, set(waited_for) & items.keys(), patience)
    finally:
        stop.set()
    silent = [host for host in items if host not in results]
    if silent:
        run_in_background(lambda: _discard_late(ended, len(silent), discard))
    return Outcomes(
        {host: results[host][0] for host in results if results[host][1] is None},  # type: ignore[misc]
        {str(host): error for host in results if (error := results[host][1])},
        silent,
    )


def _collect(
    ended: queue.SimpleQueue[tuple[Host, V | None, ClusterError | None]],
    hosts: Collection[Host],
    waited_for: set[Host],
    patience: float | None,
) -> dict[Host, tuple[V | None, ClusterError | None]]:
    """Return the results that come while they are waited for, in the order of the hosts; see `run_on_hosts`."""
    results: dict[Host, tuple[V | None, ClusterError | None]] = {}
    deadline = None if patience is None else time.monotonic() + patience
    while len(results) < len(hosts):
        is_bound = deadline is not None and waited_for <= results.keys()
        try:
            timeout = max(0.0, deadline - time.monotonic()) if is_bound and deadline is not None else None
            host, value, error = ended.get(timeout=timeout)
        except queue.Empty:
            break
        results[host] = (value, error)
        if patience is not None and error is None:
            deadline = time.monotonic() + patience
    return {host: results[host] for host in hosts if host in results}


def _discard_late(
    ended: queue.SimpleQueue[tuple[Host, V | None, ClusterError | None]], count: int, discard: Callable[[V], object]
) -> None:
    """Discard the values of so many calls at most; of those that were not begun nothing comes."""
    for _ in range(count):
        _, value, error = ended.get(timeout=_LATE_SECONDS)
        if error is None and value is not None:
            discard(value)


def run_in_background(function: Callable[[], V]) -> Future[V]:
    """Call `function` in a thread that does not keep an interrupted program from ending; return its future result."""
    future: Future[V] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # the future's result() raises it
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def connect_all(hosts: Sequence[Host], settings: SshSettings) -> Outcomes[Connection]:
    """Connect to all hosts in parallel, and run an empty script: a host that runs nothing is told of with the others.

    The caller must close the connections, also where some hosts failed.
    """
    connections: list[Connection] = []

    def connect_and_store(host: Host) -> Connection:
        connection = connect(host, settings)
        try:
            connection.run("")
        except BaseException:
            connection.close()
            raise
        connections.append(connection)
        return connection

    try:
        return run_on_hosts(connect_and_store, {host: host for host in hosts})
    except BaseException:
        for connection in connections:
            connection.close()
        raise


def _process_hosts(
    function: Callable[[T], V],
    waiting: queue.SimpleQueue[tuple[Host, T]],
    ended: queue.SimpleQueue[tuple[Host, V | None, ClusterError | None]],
    stop: threading.Event,
) -> None:
    """Call `function` for waiting hosts, and put the results into `ended`, until no host waits or `stop` is set."""
    while not stop.is_set():
        try:
            host, item = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            ended.put((host, function(item), None))
        except ClusterError as error:
            ended.put((host, None, error))
        except BaseException as error:  # a defect must not hide the results of the other hosts
            logging.getLogger(__name__).debug("unexpected error on %s", host, exc_info=True)
            ended.put((host, None, HostError(str(host), f"unexpected {type(error).__name__}: {error}")))
