"""Many hosts at once: each has a result or an error of its own, and one bad host spoils no other."""

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
    """What came of something that was done on several hosts.

    Attributes:
        values: results of the hosts where it went well, in the order asked.
        failures: errors of the others, by `str(host)`, in the order asked.
    """

    values: Mapping[Host, V]
    failures: Mapping[str, ClusterError]

    def or_raise(self) -> Mapping[Host, V]:
        """Return the values if all went well.

        Raises:
            ClusterError: the one failure.
            HostsError: the failures, where there are several.
        """
        if len(self.failures) > 1:
            raise HostsError(self.failures)
        for failure in self.failures.values():
            raise failure
        return self.values


def run_on_hosts(function: Callable[[T], V], items: Mapping[Host, T], limit: int = 32) -> Outcomes[V]:
    """Call `function` with each host's item, in parallel.

    Ctrl-C is raised at once; what is under way then goes on in the background, and nothing new is begun.

    Args:
        function: is called in other threads.
        items: its argument, by host.
        limit: how many calls run at the same time.
    """
    waiting: queue.SimpleQueue[tuple[Host, T]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[Host, V | None, ClusterError | None]] = queue.SimpleQueue()
    stop = threading.Event()
    for item in items.items():
        waiting.put(item)
    for _ in range(min(limit, len(items))):
        # Daemons, unlike the threads of an executor, do not keep an interrupted program from ending.
        threading.Thread(target=_work, args=(function, waiting, ended, stop), daemon=True).start()
    try:
        results = {host: (value, error) for host, value, error in (ended.get() for _ in items)}
    finally:
        stop.set()
    return Outcomes(
        {host: results[host][0] for host in items if results[host][1] is None},  # type: ignore[misc]
        {str(host): error for host in items if (error := results[host][1])},
    )


def run_in_background(function: Callable[[], V]) -> Future[V]:
    """Call `function` in the background, where it does not keep an interrupted program from ending."""
    future: Future[V] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def connect_all(hosts: Sequence[Host], settings: SshSettings) -> Outcomes[Connection]:
    """Connect to all hosts at once; the caller closes the connections, also where some hosts failed."""
    opened: list[Connection] = []

    def connect_one(host: Host) -> Connection:
        connection = connect(host, settings)
        opened.append(connection)
        return connection

    try:
        return run_on_hosts(connect_one, {host: host for host in hosts})
    except BaseException:
        for connection in opened:
            connection.close()
        raise


def _work(
    function: Callable[[T], V],
    waiting: queue.SimpleQueue[tuple[Host, T]],
    ended: queue.SimpleQueue[tuple[Host, V | None, ClusterError | None]],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            host, item = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            ended.put((host, function(item), None))
        except ClusterError as error:
            ended.put((host, None, error))
        except BaseException as error:  # a defect on one host must not hide the other hosts' results
            logging.getLogger(__name__).debug("unexpected error on %s", host, exc_info=True)
            ended.put((host, None, HostError(str(host), f"unexpected {type(error).__name__}: {error}")))
