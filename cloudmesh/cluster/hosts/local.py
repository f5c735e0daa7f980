"""Local hosts: containers on this machine's Docker engine that stand for machines, reached over SSH like any other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster import containers, names
from cloudmesh.cluster.errors import HostError, HostsError, ImageError, UsageError
from cloudmesh.cluster.hosts import local_engine, local_new, machine
from cloudmesh.cluster.images.hostimage import host_image
from cloudmesh.cluster.model import Host

if TYPE_CHECKING:
    from cloudmesh.cluster.model import Report

MAX_NODES = 64
_FIND_SECONDS = 20.0
_LOCKED = "/var/run"  # a directory that every user may open, so that no file of the lock is needed


def create(cluster: str, nodes: int, *, debian: str = "13", report: Report) -> tuple[Host, ...]:
    """Return the local hosts of a cluster, NAME-1 to NAME-N: kept if running, started if stopped, made if missing.

    Args:
        cluster: the cluster's name.
        nodes: how many at least; hosts that are there beyond that stay.
        debian: "12" or "13", for new hosts.
        report: where progress goes.

    Raises:
        UsageError: a bad name, number or release.
        ImageError: the Docker engine does not answer or refused; the image could not be made.
        HostsError: some hosts did not boot.
    """
    names.check(cluster, "cluster name")
    if not 1 <= nodes <= MAX_NODES:
        raise UsageError(f"{nodes} local hosts: use 1 to {MAX_NODES}")
    client = containers.client()
    try:
        with containers.mapped(), _alone(report):
            there = local_engine.usable(client, cluster)
            wanted = [machine.name_of(cluster, index) for index in range(1, nodes + 1)]
            missing = [name for name in wanted if name not in there]
            key = local_engine.operator_key(client, there.values())
            if missing:
                plan = local_new.plan(client, cluster, host_image(client, debian, report=report), key)
                key = plan.private_key
                _each(missing, lambda name: local_new.make(client, name, plan))
            _each((*there, *missing), lambda name: local_engine.boot(client, name, key, report))
            return local_engine.hosts(client, local_engine.listed(client, cluster))[cluster]
    finally:
        client.close()


def find(cluster: str = "") -> dict[str, tuple[Host, ...]]:
    """Return the local hosts of one cluster or of all, by cluster; nothing where no Docker engine answers.

    A host that does not run is listed too, at a port that nobody answers.
    """
    if not containers.within_reach():
        return {}
    try:
        client = containers.client(timeout=_FIND_SECONDS)
    except ImageError:
        return {}
    try:
        with containers.mapped():
            return local_engine.hosts(client, local_engine.listed(client, cluster))
    except ImageError:
        return {}
    finally:
        client.close()


def destroy(cluster: str) -> bool:
    """Remove a cluster's local hosts, with their volumes and network; return whether there was anything.

    Raises:
        UsageError: a bad name.
        ImageError: the Docker engine does not answer or refused.
    """
    names.check(cluster, "cluster name")
    if not containers.within_reach():
        return False
    client = containers.client()
    try:
        with containers.mapped(f"removing the local hosts of {cluster}"):
            removed = False
            for kind in local_engine.removals(client, {"label": f"{machine.LABEL}={cluster}"}):
                _each(kind, local_engine.gone)
                removed = removed or bool(kind)
            return removed
    finally:
        client.close()


@contextmanager
def _alone(report: Report) -> Iterator[None]:
    """Wait until no other command on this machine makes local hosts: Docker itself takes two networks of one name."""
    descriptor = os.open(_LOCKED, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.note("waiting for another command that is making local hosts")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _each(items: Iterable[Any], act: Callable[[Any], object]) -> None:
    """Act on all in parallel.

    Raises:
        HostsError: hosts failed.
    """
    pool = ThreadPoolExecutor(max_workers=8)
    futures = [pool.submit(act, item) for item in items]
    failures: dict[str, HostError] = {}
    try:
        for future in futures:
            try:
                future.result()
            except HostError as error:
                failures[error.host] = error
    finally:
        # an interrupt does not wait for what is under way
        pool.shutdown(wait=False, cancel_futures=True)
    if failures:
        raise HostsError(failures)
