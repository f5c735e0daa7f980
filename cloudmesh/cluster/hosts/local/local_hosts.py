"""Local hosts: containers of this machine's Docker daemon that stand for machines and are reached over SSH."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import HostError, HostsError, UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.user_cache import wait_for_turn
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local import container_config, containers
from cloudmesh.cluster.hosts.local.host_image import host_image

if TYPE_CHECKING:
    from cloudmesh.cluster.core.report import Report

MAX_NODES = 64
_FIND_SECONDS = 60.0  # a Docker daemon that writes an image of gigabytes may be silent for half a minute
_LOCK_DIR = "/var/run"  # is locked itself: every user may open this directory, so no lock file is needed


def create(cluster: str, nodes: int, *, debian: str = "13", report: Report) -> tuple[Host, ...]:
    """Return the local hosts of a cluster, NAME-1 to NAME-N; start stopped ones, and create missing ones.

    Args:
        cluster: the cluster's name.
        nodes: how many hosts to have at least; hosts beyond that number stay.
        debian: Debian release of new hosts, "12" or "13".
        report: receives the progress.

    Raises:
        UsageError: the name, the number or the release is not valid.
        ImageError: the Docker daemon does not answer or refused, or the image could not be built.
        HostsError: some hosts did not boot.
    """
    names.check(cluster, "cluster name")
    if not 1 <= nodes <= MAX_NODES:
        raise UsageError(f"{nodes} local hosts: use 1 to {MAX_NODES}")
    client = docker_client.connect()
    try:
        with docker_client.translate_errors(), _lock_creation(report):
            existing = containers.complete_containers(client, cluster)
            names_to_have = [container_config.name_of(cluster, index) for index in range(1, nodes + 1)]
            missing = [name for name in names_to_have if name not in existing]
            key = containers.operator_key(client, existing.values())
            if missing:
                plan = containers.plan_new_hosts(client, cluster, host_image(client, debian, report=report), key)
                key = plan.private_key
                _act_on_all(missing, lambda name: containers.make_host(client, name, plan))
            _act_on_all((*existing, *missing), lambda name: containers.boot(client, name, key, report))
            return containers.hosts_of(client, containers.list_containers(client, cluster))[cluster]
    finally:
        client.close()


def find(cluster: str = "") -> dict[str, tuple[Host, ...]]:
    """Return local hosts by cluster; none where there is no Docker daemon that this user may use.

    A host that does not run is listed too, with a port at which nothing answers.

    Args:
        cluster: only the hosts of this cluster; empty: of all clusters.

    Raises:
        ImageError: the Docker daemon did not answer, so that it is not known which local hosts there are.
    """
    if not docker_client.within_reach():
        return {}
    try:
        client = docker_client.connect(timeout=_FIND_SECONDS)
    except docker_client.NoDaemonError:
        return {}
    try:
        with docker_client.translate_errors():
            return containers.hosts_of(client, containers.list_containers(client, cluster))
    finally:
        client.close()


def remove_stopped(name: str) -> bool:
    """Remove a local host that does not run, with its Docker volumes; return whether nothing is left of it.

    Raises:
        ImageError: the Docker daemon does not answer or refused.
    """
    client = docker_client.connect()
    try:
        with docker_client.translate_errors(f"removing the local host {name}"):
            return containers.remove_stopped(client, name)
    finally:
        client.close()


def destroy(cluster: str) -> bool:
    """Remove a cluster's local hosts with their Docker volumes and network; return whether there were any.

    Raises:
        UsageError: the name is not valid.
        ImageError: the Docker daemon does not answer or refused.
    """
    names.check(cluster, "cluster name")
    if not docker_client.within_reach():
        return False
    client = docker_client.connect()
    try:
        with docker_client.translate_errors(f"removing the local hosts of {cluster}"):
            has_removed = False
            for removals in containers.removals(client, {"label": f"{container_config.LABEL}={cluster}"}):
                _act_on_all(removals, containers.remove_if_present)
                has_removed = has_removed or bool(removals)
            return has_removed
    finally:
        client.close()


@contextmanager
def _lock_creation(report: Report) -> Iterator[None]:
    """Wait until no other command on this machine creates local hosts, and keep others waiting during the block.

    Without this, two commands could create two networks of the same name, which Docker does not prevent.
    """
    descriptor = os.open(_LOCK_DIR, os.O_RDONLY)
    try:
        wait_for_turn(descriptor, lambda: report.note("waiting for another command that is making local hosts"))
        yield
    finally:
        os.close(descriptor)


def _act_on_all(items: Iterable[Any], act: Callable[[Any], object]) -> None:
    """Call `act` with every item, in parallel.

    Raises:
        HostsError: `act` raised a HostError for some items; other exceptions are raised as they are.
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
        # An interrupted program does not wait for running calls.
        pool.shutdown(wait=False, cancel_futures=True)
    if failures:
        raise HostsError(failures)
