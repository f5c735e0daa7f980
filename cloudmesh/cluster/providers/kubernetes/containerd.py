"""Builds the configuration of the cluster's own containerd, and of the network devices of pods.

This containerd runs beside the one that a host may have. It has its own socket, state and data, so that it changes
nothing of the host's containerd.

Source of the keys: containerd 1.6 and 1.7, `config.toml` version 2, and its `hosts.toml`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cloudmesh.cluster.core.cluster_spec import REGISTRY_PORT, ClusterSpec, HostPlan
from cloudmesh.cluster.providers.kubernetes.bootstrap import SOCKET
from cloudmesh.cluster.providers.kubernetes.control_plane_images import REPOSITORY, reference

UPSTREAM = "registry.k8s.io"
_CONFIG = "/etc/cloudmesh/cluster"
_CRI = "io.containerd.grpc.v1.cri"


def build_configuration(spec: ClusterSpec, plan: HostPlan) -> dict[str, Any]:
    """Return the configuration of containerd on a host, the content of its `config.toml`."""
    runc = {
        "runtime_type": "io.containerd.runc.v2",
        "options": {"SystemdCgroup": True, "Root": "/run/cloudmesh/runc"},
    }
    cri = {
        "sandbox_image": reference("pause", spec.version, UPSTREAM),
        # Root in some containers may not lower the score by which the kernel selects the process to kill when memory
        # runs out. Without this setting, no pod would start there.
        "restrict_oom_score_adj": not plan.facts.raises_limits,
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


def build_registry_configurations(spec: ClusterSpec) -> dict[str, dict[str, Any]]:
    """Return how images of a registry are pulled, the content of `hosts.toml`, by the name of the registry.

    Images of the cluster's registry are pulled with the certificate of the host. The images of UPSTREAM are also
    pulled from the cluster's registry, if it has them, and otherwise from UPSTREAM itself.

    By the registry's name, a server is found that answers. An image that this one lacks is looked for on each server.
    """
    ours = f"https://{spec.registry}"
    by_address = [f"https://{address}:{REGISTRY_PORT}" for address in spec.servers] if len(spec.servers) > 1 else []
    access = {
        "capabilities": ["pull", "resolve"],
        "ca": f"{_CONFIG}/ca.pem",
        "client": [[f"{_CONFIG}/host.pem", f"{_CONFIG}/host-key.pem"]],
    }
    mirror = {**access, "override_path": True}
    return {
        # "server", which is tried last, has the same access: otherwise it would be asked without a certificate, and its
        # refusal would be reported as the cause of a failure.
        spec.registry: {"server": ours, **access, "host": dict.fromkeys([ours, *by_address], access)},
        UPSTREAM: {
            "server": f"https://{UPSTREAM}",
            "host": {f"{place}/v2/{REPOSITORY}": mirror for place in (ours, *by_address)},
        },
    }


def build_cni_configuration() -> dict[str, Any]:
    """Return the CNI configuration, by which a pod gets its network device."""
    delegate = {"hairpinMode": True, "isDefaultGateway": True}
    return {
        "name": "cloudmesh",
        "cniVersion": "0.3.1",
        "plugins": [
            {"type": "flannel", "dataDir": "/var/lib/cloudmesh/flannel", "delegate": delegate},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def to_toml(table: Mapping[str, Any]) -> bytes:
    """Return `table` as TOML. Its values may be strings, numbers, booleans, lists of these, and tables."""
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
