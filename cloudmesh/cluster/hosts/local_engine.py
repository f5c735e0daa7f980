"""What local hosts need of the Docker engine: listing, making, booting. The caller maps the SDK's errors."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.errors import HostError
from cloudmesh.cluster.hosts import machine
from cloudmesh.cluster.hosts.script import load
from cloudmesh.cluster.hosts.ssh import SshSettings, connect
from cloudmesh.cluster.model import Host

if TYPE_CHECKING:
    from cloudmesh.cluster.model import Report

_BOOT_SECONDS = 60
# where nothing listens: a stopped host must be found unreachable, not be taken for the operator's own sshd
_NO_PORT = 1


def listed(client: Any, cluster: str) -> dict[str, dict[str, Any]]:
    """Return what the engine says of each local host, by name, in the order of their numbers."""
    labels = [f"{machine.LABEL}={cluster}" if cluster else machine.LABEL, machine.HOST_KEY_LABEL]
    found = client.api.containers(all=True, filters={"label": labels})
    by_name = {_name(summary): summary for summary in found if summary["Names"]}
    return dict(sorted(by_name.items(), key=lambda item: (item[1]["Labels"][machine.LABEL], machine.index_of(item[0]))))


def usable(client: Any, cluster: str) -> dict[str, dict[str, Any]]:
    """Return the hosts that were made completely; the leftovers of an interrupted create are removed."""
    found = listed(client, cluster)
    for name, summary in list(found.items()):
        if summary["State"] in ("created", "dead", "removing"):
            gone(partial(client.api.remove_container, summary["Id"], force=True, v=True))
            del found[name]
    return found


def hosts(client: Any, found: dict[str, dict[str, Any]]) -> dict[str, tuple[Host, ...]]:
    """Return the hosts by cluster. The operator's key is read once for each cluster."""
    import docker.errors

    by_cluster: dict[str, list[Host]] = {}
    keys: dict[str, str] = {}
    for summary in found.values():
        cluster = summary["Labels"][machine.LABEL]
        if cluster not in keys:
            # A cluster that is being removed just now must not hide the others.
            try:
                keys[cluster] = operator_key(client, [summary])
            except docker.errors.APIError:
                keys[cluster] = ""
        by_cluster.setdefault(cluster, []).append(_host(summary, keys[cluster]))
    return {cluster: tuple(members) for cluster, members in by_cluster.items()}


def operator_key(client: Any, summaries: Iterable[dict[str, Any]]) -> str:
    """Return the private key that the first of these containers that has it keeps; empty if none has."""
    known = (read(client, summary["Id"], machine.OPERATOR_KEY) for summary in summaries)
    return next(filter(None, known), "")


def _host(summary: dict[str, Any], private_key: str) -> Host:
    """Return the host that a container is."""
    return Host(
        name=_name(summary),
        user="root",
        address="127.0.0.1",
        port=_port(summary),
        private_key=private_key,
        host_key=summary["Labels"][machine.HOST_KEY_LABEL],
    )


def _name(summary: dict[str, Any]) -> str:
    """Return a container's name."""
    return str(summary["Names"][0]).lstrip("/")


def _port(summary: dict[str, Any]) -> int:
    """Return where sshd is published on this machine."""
    ports = [port.get("PublicPort", 0) for port in summary.get("Ports") or () if port.get("PrivatePort") == 22]
    return next((int(port) for port in ports if port), _NO_PORT)


def read(client: Any, container: str, path: str) -> str:
    """Return the text of a file in a container; empty if it is not there."""
    import docker.errors

    try:
        chunks, _ = client.api.get_archive(container, path)
        return machine.first_file(b"".join(chunks))
    except docker.errors.NotFound:
        return ""


def gone(remove: Callable[[], object]) -> None:
    """Remove something, which somebody else may have done, or may be doing, already."""
    import docker.errors

    for attempt in range(5):
        try:
            remove()
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            # being removed, or its last user is: it takes a moment
            if error.status_code != 409 or attempt == 4:
                raise
            time.sleep(0.5)
        else:
            return


def boot(client: Any, name: str, private_key: str, report: Report) -> None:
    """Start a local host where it does not run, and wait until systemd has booted and sshd answers.

    It is waited for over SSH: a process that Docker puts into the container would be in systemd's way.

    Raises:
        HostError: it did not boot in time, or its sshd cannot be reached from here.
    """
    import docker.errors

    report.step(name, "boot")
    container = client.containers.get(name)
    try:
        if container.status == "paused":
            container.unpause()
        container.start()
        _wait(client, container, private_key)
    except (docker.errors.APIError, HostError) as error:
        cause = error.cause if isinstance(error, HostError) else str(error.explanation)
        why = " | ".join(filter(None, [f"did not boot: {cause}", *_last_lines(container)]))
        report.failed(name, why)
        raise HostError(name, why) from error
    report.done(name)


def _wait(client: Any, container: Any, private_key: str) -> None:
    """Wait for a container to be a booted host.

    Raises:
        HostError: it is not in time.
    """
    end = time.monotonic() + _BOOT_SECONDS
    found = client.api.containers(filters={"id": container.id})
    host = next((_host(summary, private_key) for summary in found), Host(container.name, port=_NO_PORT))
    while not _ssh_greets(host.port):
        container.reload()
        if container.status != "running" or time.monotonic() > end:
            raise HostError(host.name, f"no sshd at 127.0.0.1:{host.port}, the container is {container.status}")
        time.sleep(0.05)
    left = max(1, int(end - time.monotonic()))
    with connect(host, SshSettings(known_hosts=Path(os.devnull))) as connection:
        connection.run(load("local/booted.sh"), str(left), timeout=left + 10)


def removals(client: Any, label: dict[str, str]) -> Iterator[list[Callable[[], object]]]:
    """Yield what removes everything of a label, kind by kind, in an order in which each kind can go."""
    containers = client.containers.list(all=True, filters=label, ignore_removed=True)
    yield [partial(container.remove, force=True, v=True) for container in containers]
    yield [partial(volume.remove, force=True) for volume in client.volumes.list(filters=label)]
    yield [network.remove for network in client.networks.list(filters=label)]


def _ssh_greets(port: int) -> bool:
    """Whether an sshd greets at a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _last_lines(container: Any) -> list[str]:
    """Return the last that a host that did not boot has to say."""
    container.reload()
    if container.status == "running":
        output = container.exec_run(["journalctl", "--no-pager", "-q", "-o", "cat", "-p", "warning", "-n", "5"]).output
    else:
        output = container.logs(tail=5)
    return [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
