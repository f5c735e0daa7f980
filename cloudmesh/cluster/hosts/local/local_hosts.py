"""Local hosts: containers on this machine's Docker engine that stand for machines, reached over SSH like any other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import HostError, HostsError, ImageError, UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local import container_config, containers
from cloudmesh.cluster.hosts.local.host_image import host_image

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report


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
    client = docker_client.connect()
    try:
        with docker_client.translate_errors(), _exclusively(report):
            there = containers.complete_containers(client, cluster)
            wanted = [container_config.name_of(cluster, index) for index in range(1, nodes + 1)]
            missing = [name for name in wanted if name not in there]
            key = containers.operator_key(client, there.values())
            if missing:
                plan = containers.plan_new_hosts(client, cluster, host_image(client, debian, report=report), key)
                key = plan.private_key
                _act_on_all(missing, lambda name: containers.make_host(client, name, plan))
            _act_on_all((*there, *missing), lambda name: containers.boot(client, name, key, report))
            return containers.hosts_of(client, containers.list_containers(client, cluster))[cluster]
    finally:
        client.close()


def find(cluster: str = "") -> dict[str, tuple[Host, ...]]:
    """Return the local hosts of one cluster or of all, by cluster; nothing where no Docker engine answers.

    A host that does not run is listed too, at a port that nobody answers.
    """
    if not docker_client.within_reach():
        return {}
    try:
        client = docker_client.connect(timeout=_FIND_SECONDS)
    except ImageError:
        return {}
    try:
        with docker_client.translate_errors():
            return containers.hosts_of(client, containers.list_containers(client, cluster))
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
    if not docker_client.within_reach():
        return False
    client = docker_client.connect()
    try:
        with docker_client.translate_errors(f"removing the local hosts of {cluster}"):
            removed = False
            for kind in containers.removals(client, {"label": f"{container_config.LABEL}={cluster}"}):
                _act_on_all(kind, containers.remove_if_present)
                removed = removed or bool(kind)
            return removed
    finally:
        client.close()


@contextmanager
def _exclusively(report: Report) -> Iterator[None]:
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


def _act_on_all(items: Iterable[Any], act: Callable[[Any], object]) -> None:
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
