"""The nftables of a container, as `nft` tells them; from outside, as the container may have no nft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.hosts.local.host_image import host_image


def ruleset(container: str, labels: Mapping[str, str], report: Report) -> str:
    """Return the rules of the network of a container; `labels` are for the one that looks at them."""
    client = docker_client.connect()
    try:
        output = client.containers.run(
            _image(client, report),
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


def _image(client: Any, report: Report) -> str:
    """Return the image of a host with nft in it; made once."""
    import docker.errors

    base = host_image(client, "13", report=report)
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
