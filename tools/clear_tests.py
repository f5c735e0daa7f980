"""Removes what crashed test runs left at the Docker daemon: hosts, volumes and networks of clusters or groups t-*."""

import sys
from collections.abc import Callable
from typing import Any

import docker
import docker.errors

# of local hosts, and of hosts that tests start themselves (tests/support/hosts.py)
LABELS = ("cloudmesh.cluster", "cloudmesh.test")
PREFIX = "t-"


def main() -> int:
    """Remove containers first, since volumes and networks cannot go before them."""
    client = docker.from_env()
    clear(
        lambda label: client.containers.list(all=True, filters={"label": label}, ignore_removed=True),
        lambda container: container.remove(force=True, v=True),
    )
    clear(lambda label: client.volumes.list(filters={"label": label}), lambda volume: volume.remove(force=True))
    clear(lambda label: client.networks.list(filters={"label": label}), lambda network: network.remove())
    return 0


def clear(labelled: Callable[[str], list[Any]], remove: Callable[[Any], None]) -> None:
    """Remove what belongs to a cluster or group of a test.

    Args:
        labelled: returns what has a label; a thing that has both labels is removed once.
        remove: removes a thing.
    """
    for thing in {thing.id: thing for label in LABELS for thing in labelled(label)}.values():
        labels = thing.attrs.get("Labels") or thing.attrs.get("Config", {}).get("Labels") or {}
        if any(labels.get(label, "").startswith(PREFIX) for label in LABELS):
            sys.stderr.write(f"left over from a test: {thing.name}\n")
            try:
                remove(thing)
            except docker.errors.APIError as error:
                sys.stderr.write(f"cannot remove {thing.name}: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
