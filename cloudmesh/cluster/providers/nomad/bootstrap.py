"""The configuration of a host's Nomad agent, as Python objects; nothing here reaches a host.

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
# Not used. The first four ask a cloud's metadata address when the agent starts, which delays it by seconds where there
# is no such address; the last two ask ports of this host, again and again.
_FINGERPRINTERS = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault"
_RESERVED_MB = {True: 768, False: 384}
# How long Nomad keeps jobs that have ended, with their results. The operator's commands remove jobs whose time to live
# is over before.
_RETENTION = "744h"


def agent(*, name: str, address: str, cluster: str) -> dict[str, Any]:
    """Return the configuration that servers and workers have in common.

    Args:
        name: the host's name in the cluster, unique there.
        address: the IPv4 address by which the other hosts reach this one.
        cluster: the cluster's name, which becomes Nomad's data centre.
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
        # Otherwise, while the servers are silent, the agent asks whoever listens on this host's port for Consul.
        "consul": {"auto_advertise": False, "client_auto_join": False, "server_auto_join": False},
        "disable_update_check": True,
        "leave_on_interrupt": False,
        "leave_on_terminate": False,
        "log_level": "INFO",
    }


def server_list(servers: Sequence[str], *, is_server: bool) -> dict[str, Any]:
    """Return the configuration that says which servers there are; Nomad joins it with the rest.

    Args:
        servers: addresses of all servers.
        is_server: whether the host is one of them.
    """
    known: dict[str, Any] = {"client": {"servers": [f"{address}:{RPC_PORT}" for address in servers]}}
    if is_server:
        joining = {"retry_join": list(servers), "retry_interval": "3s"}
        # A server that lost its data waits for the others; one that expected itself alone would begin a new cluster.
        known["server"] = {"bootstrap_expect": len(servers), "server_join": joining}
    return known


def server(*, gossip_key: str) -> dict[str, Any]:
    """Return the configuration that makes an agent a server; `gossip_key` is 32 random bytes, base64."""
    return {
        "server": {
            "enabled": True,
            "encrypt": gossip_key,
            # A host that died together with the leader is noticed after this long, not after five minutes.
            "failover_heartbeat_ttl": "60s",
            "job_gc_threshold": _RETENTION,
            "batch_eval_gc_threshold": _RETENTION,
            "eval_gc_threshold": _RETENTION,
        },
        # A server that has joined votes after this long, not after ten seconds: until then the first one must not fail.
        "autopilot": {"server_stabilization_time": "1s"},
    }


def secret_files(engine: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the configuration of a server that has secrets in it, by the names of the host script's inputs.

    Args:
        engine: Nomad's own secrets: the key of the gossip, and the management token with which access control begins.
    """
    return {
        "nomad/server.json": server(gossip_key=engine["gossip"]),
        "etc/acl-bootstrap.json": {"BootstrapSecret": engine["token"]},
    }


def client(*, cores: int, interface: str, takes_jobs: bool, is_server: bool, meta: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration that makes an agent run jobs. Every host has it, so that Nomad knows every host.

    Args:
        cores: number of the host's processors.
        interface: the network device that jobs listen on: "eth0".
        takes_jobs: False puts the host into the node pool SERVER_POOL, to which no job of ours is sent.
        is_server: whether the host is a server; those reserve more memory for themselves.
        meta: what Nomad stores of the host for the operator.
    """
    return {
        "client": {
            "enabled": True,
            "network_interface": interface,
            "node_pool": "default" if takes_jobs else SERVER_POOL,
            "meta": {**meta, DOLLAR: "$"},
            "reserved": {"memory": _RESERVED_MB[is_server]},
            "cpu_total_compute": cores * CORE,
            "options": {"driver.allowlist": "docker", "fingerprint.denylist": _FINGERPRINTERS},
            # Results stay for their time to live, unless the disk is almost full.
            "gc_max_allocs": 10_000,
            "gc_disk_usage_threshold": 95,
            "gc_inode_usage_threshold": 95,
        },
        "plugin": [{"docker": {"config": _DOCKER}}],
    }


_DOCKER = {
    "allow_privileged": False,
    "volumes": {"enabled": False},
    # An image stays for the next job that needs it. A container stays until keep-output.sh has saved its output.
    "gc": {"image": True, "image_delay": "24h", "container": False},
    # The log that keep-output.sh copies, which knows the size. It has every byte, and never becomes another file.
    "logging": {"type": "local", "config": {"max-size": f"{1 << 60}", "max-file": "2", "compress": "false"}},
}
