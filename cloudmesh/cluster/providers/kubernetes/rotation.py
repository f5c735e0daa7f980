"""How the authorities, certificates, tokens and keys of Kubernetes are replaced, by files that its servers read.

The API's certificate comes with one of the new authority that the old one has signed: pods that know the old one alone,
as they began before, go on. Source of the files: kubeadm's "Certificates and requirements" and "Manual rotation of CA
certificates" in Kubernetes' documentation, version 1.36.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.certificates import KeyPair
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.errors import NotFoundError
from cloudmesh.cluster.core.model import Marker, Role
from cloudmesh.cluster.providers.kubernetes import bootstrap, nodes, requests
from cloudmesh.cluster.providers.kubernetes.api_client import ConflictError, call, list_all, open_client, read_time
from cloudmesh.cluster.providers.rotation import EngineRotation, Stage
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_ADMINISTRATORS, _NODES, _ALL = "kubeadm:cluster-admins", "system:nodes", "system:masters"
# Clients among the parts of a server: the authority that signs, the user and the group, by their files.
_CLIENTS = {
    "pki/apiserver-kubelet-client": ("ca", "kube-apiserver-kubelet-client", _ADMINISTRATORS),
    "pki/front-proxy-client": ("front_proxy", "front-proxy-client", ""),
    "pki/apiserver-etcd-client": ("etcd", "kube-apiserver-etcd-client", ""),
    "pki-etcd/healthcheck-client": ("etcd", "kube-etcd-healthcheck-client", ""),
}
# Those that reach the API by a kubeconfig of their own: user and group.
_USERS = {
    "admin.conf": ("kubernetes-admin", _ADMINISTRATORS),
    "super-admin.conf": ("kubernetes-super-admin", _ALL),
    "controller-manager.conf": ("system:kube-controller-manager", ""),
    "scheduler.conf": ("system:kube-scheduler", ""),
}
# Which parts of a server have to start anew: what is not here, they read again by themselves.
_RESTARTED = {
    Stage.TRUST: ("etcd", "kube-apiserver", "kube-controller-manager"),
    Stage.CERTIFICATES: ("kube-apiserver",),
    Stage.DROPPED: ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
}
_ENCRYPTION = "encryption"
_KUBELET = "/var/lib/kubelet/pki/kubelet-client-current.pem"
_CLUSTER_INFO = requests.collection("v1", "configmaps", "kube-public")


class KubernetesRotation(EngineRotation):
    """See `EngineRotation` for what each method does."""

    refreshes = True

    def obstacle(self, secrets: ClusterSecrets) -> str:
        """Return that the API was not made to read the files by which two generations are trusted, where it was not."""
        if _ENCRYPTION in secrets.engine:
            return ""
        return "it was made by a version whose API servers do not read what a rotation changes: make a new cluster"

    def files(self, spec: ClusterSpec, host: Marker, stage: Stage, now: float) -> Mapping[str, bytes]:
        """Return the files of the kubelet, and on servers of all parts of the control plane."""
        if stage is Stage.REFRESHED:
            return {"refresh": b""}
        new = spec.secrets.successor or spec.secrets
        old = spec.secrets if spec.secrets.successor else spec.secrets.predecessor
        trusted = [new] if stage is Stage.DROPPED or not old else [new, old]
        # First, the old ones are renewed: what has expired would keep hosts from each other until all have new ones.
        signer = old if old and stage is Stage.TRUST else new
        files = {
            "kubernetes/authorities.pem": _join(trusted, "ca"),
            "kubeconfigs/kubelet.conf": _kubeconfig(
                spec,
                f"https://{bootstrap.ENDPOINT}",
                _join(trusted, "ca"),
                f"system:node:{host.node}",
                _files(_KUBELET),
            ),
        }
        if stage is Stage.DROPPED:
            files["pki/ca.crt"] = new.engine["ca"].encode()
        else:
            kubelet = certificates.issue(
                _authority(signer, "ca"), f"system:node:{host.node}", organization=_NODES, now=now
            )
            files["kubelet.pem"] = kubelet.certificate + kubelet.key
        if host.role is Role.SERVER:
            encrypting = [signer, *(one for one in trusted if one is not signer)]
            files |= {
                "restart": host_script.lines(_RESTARTED[stage]),
                "kubernetes/encryption.json": _json(
                    bootstrap.build_encryption_configuration([one.engine[_ENCRYPTION] for one in encrypting])
                ),
                "pki/front-proxy-ca.crt": _join(trusted, "front_proxy"),
                "pki-etcd/ca.crt": _join(trusted, "etcd"),
                "pki/sa.pub": b"".join(certificates.public_key(_authority(one, "accounts")) for one in trusted),
                **_signing_files(signer),
            }
            if stage is not Stage.DROPPED:
                files |= dict(_server_files(spec, host, signer, _join(trusted, "ca"), now))
            if stage is Stage.CERTIFICATES and old:
                files["pki/apiserver.crt"] += certificates.cross_sign(
                    _authority(new, "ca"), _authority(old, "ca"), now=now
                )
        return files

    def adopt(self, server: Connection, spec: ClusterSpec) -> Mapping[str, str]:
        """Have hosts that join be told of the new authority; the API has the rest by its files."""
        assert spec.secrets.successor  # noqa: S101 - the caller's promise
        new = spec.secrets.successor.engine
        with open_client(server, spec.secrets) as client:
            data = call(client, _CLUSTER_INFO.read("cluster-info"))["data"]
            authority = f"certificate-authority-data: {b64encode(new['ca'].encode()).decode()}"
            kubeconfig = re.sub(r"certificate-authority-data: *\S+", authority, data["kubeconfig"])
            call(client, _CLUSTER_INFO.patch("cluster-info", {"data": {"kubeconfig": kubeconfig}}))
        return new

    def revoke(self, server: Connection, spec: ClusterSpec) -> None:
        """Store every secret anew, encrypted with the new key. The old authorities go with the hosts' files."""
        with open_client(server, spec.secrets) as client:
            for secret in list_all(client, requests.collection("v1", "secrets").list()):
                metadata = secret["metadata"]
                stored = requests.collection("v1", "secrets", metadata["namespace"])
                # Who has changed or deleted it meanwhile has done the same.
                with suppress(ConflictError, NotFoundError):
                    call(client, stored.replace(metadata["name"], {"apiVersion": "v1", "kind": "Secret", **secret}))

    def silent_nodes(self, server: Connection, spec: ClusterSpec) -> Mapping[str, str]:
        """Return the nodes whose kubelets have not renewed their leases for a while, or that are not ready."""
        silent: dict[str, str] = {}
        with open_client(server, spec.secrets) as client:
            unheard = nodes.find_silent(list_all(client, requests.NODE_LEASES.list()), read_time(client))
            for node in list_all(client, requests.NODES.list()):
                if not nodes.is_ready(node):
                    silent[nodes.internal_address(node)] = "its kubelet is not ready"
                elif node["metadata"]["name"] in unheard:
                    silent[nodes.internal_address(node)] = "its kubelet was not heard of lately"
        return silent


def _server_files(
    spec: ClusterSpec, host: Marker, signer: ClusterSecrets, trusted: bytes, now: float
) -> Iterator[tuple[str, bytes]]:
    """Yield the certificates of a server's parts and the kubeconfigs of its clients, by the names of their files."""
    pairs = {
        file: certificates.issue(_authority(signer, name), user, organization=group, now=now)
        for file, (name, user, group) in _CLIENTS.items()
    }
    services = ip_network(bootstrap.network(spec, bootstrap.SERVICES))
    names = [f"kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    pairs["pki/apiserver"] = certificates.issue(
        _authority(signer, "ca"),
        "kube-apiserver",
        [host.node, bootstrap.API_NAME, *names],
        list(dict.fromkeys([str(services[1]), host.address, "127.0.0.1", *spec.servers])),
        now=now,
    )
    for part in ("server", "peer"):
        addresses = [host.address, "127.0.0.1", "::1"]
        pairs[f"pki-etcd/{part}"] = certificates.issue(
            _authority(signer, "etcd"), host.node, [host.node, "localhost"], addresses, now=now
        )
    for file, pair in pairs.items():
        yield f"{file}.crt", pair.certificate
        yield f"{file}.key", pair.key
    for file, (user, group) in _USERS.items():
        pair = certificates.issue(_authority(signer, "ca"), user, organization=group, now=now)
        # An administrator's works on every server, and the others ask their own.
        api = f"https://{bootstrap.ENDPOINT}" if group else f"https://{host.address}:{bootstrap.API_PORT}"
        pems = {"client-certificate-data": pair.certificate, "client-key-data": pair.key}
        encoded = {name: b64encode(pem).decode() for name, pem in pems.items()}
        yield f"kubeconfigs/{file}", _kubeconfig(spec, api, trusted, user, encoded)


def _signing_files(signer: ClusterSecrets) -> dict[str, bytes]:
    """Return the keys by which the API and its controllers sign; of the authority, they take one certificate alone."""
    return {
        "pki/ca.crt": signer.engine["ca"].encode(),
        "pki/ca.key": signer.engine["ca_key"].encode(),
        "pki/front-proxy-ca.key": signer.engine["front_proxy_key"].encode(),
        "pki-etcd/ca.key": signer.engine["etcd_key"].encode(),
        "pki/sa.key": signer.engine["accounts_key"].encode(),
    }


def _authority(secrets: ClusterSecrets, name: str) -> KeyPair:
    return KeyPair(secrets.engine[name].encode(), secrets.engine[f"{name}_key"].encode())


def _join(generations: Sequence[ClusterSecrets], name: str) -> bytes:
    return "".join(one.engine[name] for one in generations).encode()


def _files(path: str) -> dict[str, str]:
    return {"client-certificate": path, "client-key": path}


def _kubeconfig(spec: ClusterSpec, api: str, trusted: bytes, user: str, credential: Mapping[str, str]) -> bytes:
    """Return a kubeconfig as kubeadm writes it, in YAML: the host script reads the API's address in it."""
    import yaml

    name = f"{user}@{spec.cluster}"
    cluster = {"server": api, "certificate-authority-data": b64encode(trusted).decode()}
    fields = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": spec.cluster, "cluster": cluster}],
        "users": [{"name": user, "user": dict(credential)}],
        "contexts": [{"name": name, "context": {"cluster": spec.cluster, "user": user}}],
        "current-context": name,
    }
    return yaml.safe_dump(fields, width=1 << 20).encode()


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, indent=2).encode()
