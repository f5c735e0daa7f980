"""The nftables of a container, listed from outside, since the container may have no `nft`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local.host_image import host_image


def read_ruleset(container: str, labels: Mapping[str, str]) -> str:
    """Return the rules of a container's network namespace, as `nft` lists them.

    Args:
        container: its name.
        labels: of the container that lists them, which is removed again.
    """
    client = docker_client.connect()
    try:
        output = client.containers.run(
            _provide_image(client),
            ["nft", "-s", "list", "ruleset"],
            entrypoint=[],
            network_mode=f"container:{container}",
            cap_add=["NET_ADMIN"],
            labels=labels,
            remove=True,
        )
        return str(output.decode())
    finally:
        client.close()


def _provide_image(client: Any) -> str:
    """Return the tag of a host's image with nft in it, made if it is not there."""
    import docker.errors

    base = host_image(client, "13", report=Silence())
    tag = f"cloudmesh/test-nft:{base.partition(':')[2]}"
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        maker = client.containers.create(
            base, ["-ec", "apt-get -q update && apt-get -qy install nftables"], entrypoint="sh"
        )
        try:
            maker.start()
            assert maker.wait(timeout=180)["StatusCode"] == 0, maker.logs(tail=5).decode()
            maker.commit(*tag.split(":"))
        finally:
            maker.remove(force=True)
    return tag
