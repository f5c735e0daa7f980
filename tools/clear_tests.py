"""Removes what a crashed test run left on the Docker engine: hosts, volumes, networks of clusters named t-*."""

import sys
from collections.abc import Callable
from typing import Any

import docker
import docker.errors

LABEL = "cloudmesh.cluster"
PREFIX = "t-"


def main() -> int:
    """Remove containers first, since volumes and networks cannot go before them."""
    client = docker.from_env()
    containers = client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
    clear(containers, lambda container: container.remove(force=True, v=True))
    clear(client.volumes.list(filters={"label": LABEL}), lambda volume: volume.remove(force=True))
    clear(client.networks.list(filters={"label": LABEL}), lambda network: network.remove())
    return 0


def clear(found: list[Any], remove: Callable[[Any], None]) -> None:
    """Remove those that belong to a test's cluster."""
    for thing in found:
        labels = thing.attrs.get("Labels") or thing.attrs.get("Config", {}).get("Labels") or {}
        if labels.get(LABEL, "").startswith(PREFIX):
            sys.stderr.write(f"left over from a test: {thing.name}\n")
            try:
                remove(thing)
            except docker.errors.APIError as error:
                sys.stderr.write(f"cannot remove {thing.name}: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
