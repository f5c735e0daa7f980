"""KubernetesProvider: how a host becomes part of a Kubernetes cluster."""

from __future__ import annotations

import dataclasses
import json
import secrets as random
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from cloudmesh.cluster.binaries.cache import BinaryBundle
from cloudmesh.cluster.binaries.pinned import pinned_versions
from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import (
    REGISTRY_PORT,
    REGISTRY_WRITER_PORT,
    ClusterSecrets,
    ClusterSpec,
    HostPlan,
)
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Role
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.hosts.preflight import Needs, overlaps
from cloudmesh.cluster.providers.base import Delivery, Engine, Provider, deliver_binaries
from cloudmesh.cluster.providers.kubernetes import (
    bootstrap,
    cluster_manifests,
    containerd,
    control_plane_images,
    credentials,
    nodes,
    pod_spec,
)
from cloudmesh.cluster.providers.rotation import EngineRotation
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.images.registry import Registry
    from cloudmesh.cluster.ssh.connection import Connection


_MEMORY_MB, _DISK_MB = 1700, 8000
# As kubernetes/walkthrough.sh installs them.
_PACKAGES = (
    *("ca-certificates", "containernetworking-plugins", "curl", "iproute2", "iptables", "nftables"),
    *("containerd", "docker-registry"),
)
_HOST_FILES = ("kubeadm", "kubelet", "kubectl", "flannel", "etcdutl")
_SCRIPTS = ("kubernetes/keep-output.sh", "host/shorten-log.pl", "kubernetes/expire-results.sh")
_UNITS = (
    *("cloudmesh-containerd.service", "cloudmesh-kubelet.service"),
    *("cloudmesh-output.service", "cloudmesh-results.service"),
)
_KEY_BYTES = 32
AUTHORITIES = {"ca": "pki/ca", "front_proxy": "pki/front-proxy-ca", "etcd": "pki-etcd/ca"}
_PUBLIC_FLANNEL = "ghcr.io/flannel-io"


class KubernetesProvider(Provider):
    """Clusters of Kubernetes by kubeadm, with containerd and flannel."""

    kind = "kubernetes"
    empties_for_minor = True  # a kubelet may start the containers of another minor version's again
    endpoint = f"https://127.0.0.1:{bootstrap.API_PORT}"

    def needs(self) -> Needs:
        """Return the ports, memory, disk and packages that a host must have."""
        ports = (*bootstrap.PORTS, REGISTRY_PORT, REGISTRY_WRITER_PORT)
        return Needs(ports=ports, memory_mb=_MEMORY_MB, disk_mb=_DISK_MB, packages=_PACKAGES)

    def host_script(self) -> str:
        """Return the script that makes a host part of the cluster, and cleans it."""
        return host_script.load("host/lib.sh", "host/clean.sh", "kubernetes/walkthrough.sh")

    def new_secrets(self) -> Mapping[str, str]:
        """Return the cluster's authorities, and the keys of service accounts and of what is stored of secrets.

        Of two generations, authorities have different names.
        """
        suffix = random.token_hex(4)
        pairs = {
            name: certificates.new_authority(f"{name} {suffix}", vouches=True) for name in (*AUTHORITIES, "accounts")
        }
        public = {name: pair.certificate.decode() for name, pair in pairs.items()}
        private = {f"{name}_key": pair.key.decode() for name, pair in pairs.items()}
        return {**public, **private, "encryption": b64encode(random.token_bytes(_KEY_BYTES)).decode()}

    def choose_networks(self, taken: Sequence[str]) -> Mapping[str, str]:
        """Return a network for pods and one for services; ClusterError where all that it could be are taken."""
        return {purpose: _choose(purpose, taken) for purpose in bootstrap.NETWORKS}

    def certificate_names(self, role: Role) -> Sequence[str]:
        """Return nothing: kubeadm makes Kubernetes' own certificates."""
        return []

    def host_files(self, spec: ClusterSpec, plan: HostPlan, delivery: Delivery) -> Mapping[str, bytes]:
        """Return the configuration of containerd, the kubelet and kubeadm, and on servers what `kubeadm init` needs."""
        introduction = nodes.build_annotations_patch(str(plan.host), plan.contact, plan.host_key)
        files = {
            "node": plan.node.encode(),
            "node.json": _json(introduction),
            "ignored": ",".join(bootstrap.list_ignored_checks(plan)).encode(),
            "notes": host_script.lines(_notes(plan)),
            "containerd.toml": containerd.to_toml(containerd.build_configuration(spec, plan)),
            "cni/10-cloudmesh.conflist": _json(containerd.build_cni_configuration()),
            "join.json": _json(bootstrap.build_join_configuration(plan)),
            "upgrade.json": _json(bootstrap.build_upgrade_configuration(spec, plan)),
            "kubernetes/authorities.pem": spec.secrets.engine["ca"].encode(),
            **self.server_list_files(spec, plan.role),
        }
        for name, patch in bootstrap.build_patches(len(spec.servers)).items():
            files[f"patches/{name}"] = _json(patch)
        for script in _SCRIPTS:
            files[f"etc/{script.rpartition('/')[2]}"] = host_script.load(script).encode()
        for unit in _UNITS:
            files[f"units/{unit}"] = host_script.load(f"kubernetes/{unit}").encode()
        files["containers.conf"] = host_script.load("kubernetes/containers.conf").encode()
        return {**files, **self._server_files(spec, plan, delivery)} if plan.role is Role.SERVER else files

    def _server_files(self, spec: ClusterSpec, plan: HostPlan, delivery: Delivery) -> Mapping[str, bytes]:
        secrets = spec.secrets.engine
        accounts = certificates.KeyPair(secrets["accounts"].encode(), secrets["accounts_key"].encode())
        flannel = control_plane_images.reference("flannel", spec.version, delivery.image_repository or _PUBLIC_FLANNEL)
        init = bootstrap.build_init_documents(
            spec, plan, token=credentials.generate_token(), images=delivery.image_repository
        )
        files = {
            "etc/jobs.sh": host_script.load("kubernetes/jobs.sh").encode(),
            "kubernetes/authentication.json": _json(bootstrap.build_authentication_configuration()),
            "kubernetes/audit.json": _json(bootstrap.build_audit_policy()),
            "init.yaml": b"\n---\n".join(map(_json, init)),
            "manifests.json": _json(
                {
                    "apiVersion": "v1",
                    "kind": "List",
                    "items": [
                        *cluster_manifests.build_network_manifests(flannel, bootstrap.network(spec, bootstrap.PODS)),
                        *cluster_manifests.build_jobs_manifests(),
                    ],
                }
            ),
            "pki/sa.key": accounts.key,
            "pki/sa.pub": certificates.public_key(accounts),
        }
        # A cluster of before there was one encrypts nothing.
        if key := secrets.get("encryption"):
            files["kubernetes/encryption.json"] = _json(bootstrap.build_encryption_configuration([key]))
        for name, path in AUTHORITIES.items():
            files[f"{path}.crt"] = secrets[name].encode()
            files[f"{path}.key"] = secrets[f"{name}_key"].encode()
        return files

    def server_list_files(self, spec: ClusterSpec, role: Role) -> Mapping[str, bytes]:
        """Return the addresses of the API's name, and where containerd finds registries."""
        registries = containerd.build_registry_configurations(spec)
        return {
            f"names/{bootstrap.API_NAME}": host_script.lines(spec.servers),
            **{f"hosts/{name}.toml": containerd.to_toml(access) for name, access in registries.items()},
        }

    def open_engine(self, server: Connection, secrets: ClusterSecrets) -> AbstractContextManager[Engine]:
        """Open the engine's API through a server's connection."""
        from cloudmesh.cluster.providers.kubernetes import api

        return api.open_engine(server, secrets)

    def deliver(
        self, spec: ClusterSpec, server: Connection, registry: Registry, bundle: BinaryBundle, report: Report
    ) -> Delivery:
        """Send the images too, unless the first server reaches the public registry that has them.

        A cluster that was made of images in its own registry has those of a later version there too.
        """
        is_public = not _has_own_images(registry) and (
            server.ask(host_script.load("kubernetes/registry_reachable.sh"), "images") == "yes"
        )
        if not is_public:
            control_plane_images.deliver_images(registry, bundle, report=report)
        files = tuple(file for file in bundle.files if file.name in _HOST_FILES)
        digests = deliver_binaries(registry, dataclasses.replace(bundle, files=files), report)
        return Delivery(digests, "" if is_public else f"{spec.registry}/{control_plane_images.REPOSITORY}")

    def rotation(self) -> EngineRotation:
        """Return how Kubernetes' authorities, certificates, tokens and keys are replaced."""
        from cloudmesh.cluster.providers.kubernetes.rotation import KubernetesRotation

        return KubernetesRotation()

    def kubeconfig(self, spec: ClusterSpec) -> bytes:
        """Return an administrator's kubeconfig, valid for a week."""
        from cloudmesh.cluster.providers.kubernetes.api_client import administrator_certificate

        pair = administrator_certificate(spec.secrets)
        pems = {"client-certificate-data": pair.certificate, "client-key-data": pair.key}
        user = {name: b64encode(pem).decode() for name, pem in pems.items()}
        return _json(credentials.build_exported_kubeconfig(spec, user, pod_spec.JOBS_NAMESPACE)) + b"\n"

    @contextmanager
    def join_credentials(self, spec: ClusterSpec, server: Connection) -> Iterator[Mapping[str, bytes]]:
        """Yield the kubeconfig of a bootstrap token, which lets hosts in for as long as the block lasts."""
        from cloudmesh.cluster.providers.kubernetes import api

        with api.open_engine(server, spec.secrets) as engine, engine.invitation() as token:
            yield {bootstrap.INVITATION: _json(credentials.build_kubeconfig(spec, {"token": token}))}


def _has_own_images(registry: Registry) -> bool:
    """Return whether the cluster's registry has the API server of any version that is pinned."""
    repository = f"{control_plane_images.REPOSITORY}/kube-apiserver"
    return any(registry.has_manifest(repository, f"v{version}") for version in pinned_versions("kubernetes"))


def _choose(purpose: str, taken: Sequence[str]) -> str:
    candidates = bootstrap.NETWORKS[purpose]
    for network in candidates:
        if not any(overlaps(route, network) for route in taken):
            return network
    raise ClusterError(
        f"no network is free for the cluster's {purpose}: the hosts have routes into each of {', '.join(candidates)} "
        f"({'; '.join(dict.fromkeys(taken))}): take one of these routes away"
    )


def _notes(plan: HostPlan) -> Iterator[str]:
    """Yield what of a host is not as Kubernetes expects it, and what is done about it."""
    if plan.facts.cgroup == 1:
        yield "control groups are of version 1: the kubelet is told to accept them, kubeadm's check of them is left out"
    if not plan.facts.raises_limits:
        yield "root may not raise limits (CAP_SYS_RESOURCE): pods get no better out-of-memory score than it has"


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=2).encode()
