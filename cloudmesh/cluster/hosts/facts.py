"""Asks a host for its facts, before anything is changed on it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.core.model import EngineState, Facts
from cloudmesh.cluster.core.paths import DATA_DIR
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

# Seconds; twice the clock skew that a cluster tolerates, because the skew is measured to half of the round trip only.
_TIMEOUT = 60.0
_DATA_DIRS = (DATA_DIR, "/var/lib/docker", "/var/lib/containerd")


def gather(
    connection: Connection, *, ports: Sequence[int], interface: str = "", data_dirs: Sequence[str] = _DATA_DIRS
) -> Facts:
    """Ask a host for its facts; nothing is changed there.

    Args:
        connection: to the host.
        ports: TCP ports to look at; `Facts.busy_ports` has those on which a program listens.
        interface: name or CIDR of the network at which other hosts reach it; empty: that of its default route.
        data_dirs: directories where the cluster's data will go; they need not exist.

    Raises:
        HostError: the host has no such interface, or its answer cannot be understood.
    """
    files = {
        "ports": host_script.lines(ports),
        "interface": f"{interface}\n".encode(),
        "data_dir": host_script.lines(data_dirs),
    }
    before = time.time()
    result = connection.run(host_script.load("host/facts.sh"), files=files, timeout=_TIMEOUT)
    middle = (before + time.time()) / 2
    try:
        answer = parse(result.facts, asked_at=middle)
    except (KeyError, ValueError) as error:
        raise HostError(str(connection.host), f"what the host tells of itself makes no sense: {error!r}") from error
    listening = (int(port) for port in result.facts.get("loopback_ports", "").split())
    return replace(answer, forwards=connection.can_forward(listening))


def parse(answer: Mapping[str, str], *, asked_at: float) -> Facts:
    """Return the facts from the answer of `facts.sh`.

    Args:
        answer: the values of its fact lines by key; the values of a repeated key are joined by newlines.
        asked_at: when the host read its clock, in seconds since the epoch by the operator's clock.

    Raises:
        KeyError: a fact is missing.
        ValueError: a fact that must be a number is not one.
    """
    clock = float(answer["clock"])
    return Facts(
        machine_id=answer["machine_id"],
        hostname=answer["hostname"],
        address=answer.get("address", ""),
        os=answer["os"],
        arch=answer["arch"],
        cores=int(answer["cores"]),
        memory_mb=int(answer["memory_mb"]),
        disk_free_mb=int(answer["disk_free_mb"]),
        disk=answer.get("disk", ""),
        clock=clock,
        skew=clock - asked_at,
        marker="" if answer["marker"] == "none" else answer["marker"].strip(),
        busy_ports=tuple(int(port) for port in answer.get("busy_ports", "").split()),
        systemd=answer["systemd"] == "yes",
        root=answer["root"] == "yes",
        addresses=tuple(answer.get("addresses", "").splitlines()),
        apt=answer["apt"] == "yes",
        docker=answer.get("docker", ""),
        cgroup=int(answer["cgroup"]),
        raises_limits=answer.get("raises_limits") != "no",
        routes=tuple(answer.get("route", "").splitlines()),
        systemd_silent=answer["systemd"] == "silent",
        held=tuple(answer.get("held", "").split()),
        engine=EngineState(answer["engine"]),
    )
