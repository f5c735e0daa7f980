"""Runs functions on many hosts in parallel. Every host has its own result or error; a failed host affects no other."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from cloudmesh.cluster.core.errors import ClusterError, HostError, HostsError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh.connect import connect

if TYPE_CHECKING:
    from cloudmesh.cluster.core.context import SshSettings
    from cloudmesh.cluster.ssh.connection import Connection

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True)
class Outcomes(Generic[V]):
    """The results of something that was done on several hosts.

    Attributes:
        values: results of the hosts where it succeeded, in the order of the hosts given.
        failures: errors of the other hosts, by `str(host)`, in the same order.
    """

    values: Mapping[Host, V]
    failures: Mapping[str, ClusterError]

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


def run_on_hosts(function: Callable[[T], V], items: Mapping[Host, T], limit: int = 32) -> Outcomes[V]:
    """Call `function` with the item of every host, in parallel.

    On Ctrl-C, KeyboardInterrupt is raised at once; running calls go on in the background, and no new ones are started.

    Args:
        function: is called in other threads.
        items: the function's argument, by host.
        limit: how many calls may run at the same time.
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
        results = {host: (value, error) for host, value, error in (ended.get() for _ in items)}
    finally:
        stop.set()
    return Outcomes(
        {host: results[host][0] for host in items if results[host][1] is None},  # type: ignore[misc]
        {str(host): error for host in items if (error := results[host][1])},
    )


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
