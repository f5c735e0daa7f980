"""The configuration of a host's Nomad agent, as Python objects. Pure: nothing here reaches a host.

Source of the keys: Nomad's agent configuration reference, version 1.10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudmesh.cluster.providers.nomad.job_spec import CORE, DOLLAR

HTTP_PORT, RPC_PORT, SERF_PORT = 4646, 4647, 4648
SERVER_POOL = "servers"
_CONFIG = "/etc/cloudmesh/cluster"
_DATA = "/var/lib/cloudmesh/nomad"
ALLOCATIONS = f"{_DATA}/alloc"
# Each asks a cloud's metadata address when the agent starts, and delays it by seconds where there is none; the last two
# ask ports of this host, again and again.
_FINGERPRINTERS = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault"
_RESERVED_MB = {True: 768, False: 384}
# What has ended is kept this long, with its results; what the operator's commands find due before, they remove.
_KEPT = "744h"


def agent(*, name: str, address: str, cluster: str) -> dict[str, Any]:
    """Return what servers and workers have in common.

    Args:
        name: the host's name in the cluster, unique there.
        address: by which the other hosts reach this one.
        cluster: the cluster's name; Nomad's data centre.
    """
    return {
        "name": name,
        "datacenter": cluster,
        "data_dir": _DATA,
        "bind_addr": address,
        "addresses": {"http": "127.0.0.1"},
        "advertise": {
            "http": f"127.0.0.1:{HTTP_PORT}",
            "rpc": f"{address}:{RPC_PORT}",
            "serf": f"{address}:{SERF_PORT}",
        },
        "acl": {"enabled": True},
        "tls": {
            "http": False,
            "rpc": True,
            "verify_server_hostname": True,
            "ca_file": f"{_CONFIG}/ca.pem",
            "cert_file": f"{_CONFIG}/host.pem",
            "key_file": f"{_CONFIG}/host-key.pem",
        },
        # Nothing is asked of whoever listens on this host's port for Consul when the servers are silent.
        "consul": {"auto_advertise": False, "client_auto_join": False, "server_auto_join": False},
        "disable_update_check": True,
        "leave_on_interrupt": False,
        "leave_on_terminate": False,
        "log_level": "INFO",
    }


def server(*, gossip_key: str, servers: Sequence[str]) -> dict[str, Any]:
    """Return what makes an agent a server.

    Args:
        gossip_key: 32 random bytes, base64.
        servers: addresses of all servers.
    """
    return {
        "server": {
            "enabled": True,
            "bootstrap_expect": len(servers),
            "encrypt": gossip_key,
            "server_join": {"retry_join": list(servers), "retry_interval": "3s"},
            # A host that died with the leader is missed after this long, not after five minutes.
            "failover_heartbeat_ttl": "60s",
            "job_gc_threshold": _KEPT,
            "batch_eval_gc_threshold": _KEPT,
            "eval_gc_threshold": _KEPT,
        },
        # A server that has joined votes after this long, not after ten seconds: until then the first must not fail.
        "autopilot": {"server_stabilization_time": "1s"},
    }


def client(
    *, cores: int, servers: Sequence[str], interface: str, takes_jobs: bool, is_server: bool, meta: Mapping[str, str]
) -> dict[str, Any]:
    """Return what makes an agent run jobs. Every host has it, so that the engine knows every host.

    Args:
        cores: of the host.
        servers: addresses of all servers.
        interface: the network device that jobs listen on.
        takes_jobs: False puts the host into a pool of its own, to which no job of ours is sent.
        is_server: a server keeps more memory for itself.
        meta: what the engine is to keep of the host for the operator.
    """
    return {
        "client": {
            "enabled": True,
            "servers": [f"{address}:{RPC_PORT}" for address in servers],
            "network_interface": interface,
            "node_pool": "default" if takes_jobs else SERVER_POOL,
            "meta": {**meta, DOLLAR: "$"},
            "reserved": {"memory": _RESERVED_MB[is_server]},
            "cpu_total_compute": cores * CORE,
            "options": {"driver.allowlist": "docker", "fingerprint.denylist": _FINGERPRINTERS},
            # Results are kept for their time, unless the disk is all but full.
            "gc_max_allocs": 10_000,
            "gc_disk_usage_threshold": 95,
            "gc_inode_usage_threshold": 95,
        },
        "plugin": [{"docker": {"config": _DOCKER}}],
    }


_DOCKER = {
    "allow_privileged": False,
    "volumes": {"enabled": False},
    # An image stays for the next job that needs it; a container, until the host has kept its output.
    "gc": {"image": True, "image_delay": "24h", "container": False},
}
