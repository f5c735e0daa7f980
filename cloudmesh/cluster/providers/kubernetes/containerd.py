"""The configuration of the cluster's own containerd, and of the pods' network devices. Pure.

It is an instance beside the one that a host may have: its socket, state and data are its own, so that nothing of the
host's is changed. Source of the keys: containerd 1.6 and 1.7, `config.toml` version 2, and its `hosts.toml`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cloudmesh.cluster.core.cluster_spec import ClusterSpec, HostPlan
from cloudmesh.cluster.providers.kubernetes.bootstrap import SOCKET
from cloudmesh.cluster.providers.kubernetes.control_plane_images import REPOSITORY, reference

UPSTREAM = "registry.k8s.io"
_CONFIG = "/etc/cloudmesh/cluster"
_CRI = "io.containerd.grpc.v1.cri"


def containerd(member: HostPlan) -> dict[str, Any]:
    """Return containerd's configuration on a host."""
    runc = {
        "runtime_type": "io.containerd.runc.v2",
        "options": {"SystemdCgroup": True, "Root": "/run/cloudmesh/runc"},
    }
    cri = {
        "sandbox_image": reference("pause", UPSTREAM),
        # A host that may not lower the score by which the kernel chooses what to kill would start no pod at all.
        "restrict_oom_score_adj": not member.facts.raises_limits,
        "cni": {"bin_dir": "/opt/cloudmesh/cni", "conf_dir": f"{_CONFIG}/cni"},
        "registry": {"config_path": f"{_CONFIG}/certs.d"},
        "containerd": {"default_runtime_name": "runc", "runtimes": {"runc": runc}},
    }
    return {
        "version": 2,
        "root": "/var/lib/cloudmesh/containerd",
        "state": "/run/cloudmesh/containerd",
        "disabled_plugins": ["io.containerd.internal.v1.opt"],
        "grpc": {"address": SOCKET},
        "plugins": {_CRI: cri},
    }


def registries(design: ClusterSpec) -> dict[str, dict[str, Any]]:
    """Return how images are pulled, by the name of their registry: from the cluster's own, with the host's certificate.

    It is asked for upstream's images too, and upstream only for those that it does not have.
    """
    ours = f"https://{design.registry}"
    access = {
        "capabilities": ["pull", "resolve"],
        "ca": f"{_CONFIG}/ca.pem",
        "client": [[f"{_CONFIG}/host.pem", f"{_CONFIG}/host-key.pem"]],
    }
    mirror = {**access, "override_path": True}
    return {
        # As the last resort too, which else would be asked without a certificate, and its answer told as the cause.
        design.registry: {"server": ours, **access, "host": {ours: access}},
        UPSTREAM: {"server": f"https://{UPSTREAM}", "host": {f"{ours}/v2/{REPOSITORY}": mirror}},
    }


def network() -> dict[str, Any]:
    """Return how a pod gets its network device."""
    delegate = {"hairpinMode": True, "isDefaultGateway": True}
    return {
        "name": "cloudmesh",
        "cniVersion": "0.3.1",
        "plugins": [
            {"type": "flannel", "dataDir": "/var/lib/cloudmesh/flannel", "delegate": delegate},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def toml(table: Mapping[str, Any]) -> bytes:
    """Return `table` as TOML; its values are strings, numbers, booleans, lists of them, and tables."""
    return "".join(f"{line}\n" for line in _lines(table, ())).encode()


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if path:
        yield f"[{'.'.join(map(json.dumps, path))}]"
    for key, value in table.items():
        if key not in tables:
            yield f"{json.dumps(key)} = {json.dumps(value)}"
    for key, value in tables.items():
        yield from _lines(value, (*path, key))
