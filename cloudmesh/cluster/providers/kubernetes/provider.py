"""KubernetesProvider: how a host becomes part of a Kubernetes cluster."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from cloudmesh.cluster.binaries.cache import BinaryBundle
from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import REGISTRY_PORT, ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.model import Role
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.providers import base
from cloudmesh.cluster.providers.base import Engine, Provider
from cloudmesh.cluster.providers.kubernetes import (
    bootstrap,
    cluster_manifests,
    containerd,
    control_plane_images,
    credentials,
    nodes,
    pod_spec,
)
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.images.registry import Registry
    from cloudmesh.cluster.ssh.connection import Connection


_MEMORY_MB, _DISK_MB = 1700, 8000
_HOST_FILES = ("kubeadm", "kubelet", "kubectl", "flannel")
_AUTHORITIES = {"ca": "pki/ca", "front_proxy": "pki/front-proxy-ca", "etcd": "pki-etcd/ca"}
_PUBLIC_FLANNEL = "ghcr.io/flannel-io"


class KubernetesProvider(Provider):
    """Clusters of Kubernetes by kubeadm, with containerd and flannel."""

    kind = "kubernetes"
    endpoint = f"https://127.0.0.1:{bootstrap.API_PORT}"

    # Where the images of the control plane are; empty: where everybody finds them.
    _images = ""

    def _needs(self) -> Needs:
        return Needs(ports=(*bootstrap.PORTS, REGISTRY_PORT), memory_mb=_MEMORY_MB, disk_mb=_DISK_MB)

    def _script(self) -> str:
        return host_script.load("host/lib.sh", "host/clean.sh", "kubernetes/walkthrough.sh")

    def _new_secrets(self) -> Mapping[str, str]:
        made = {name: certificates.new_authority(name) for name in (*_AUTHORITIES, "accounts")}
        found = {name: pair.certificate.decode() for name, pair in made.items()}
        return {**found, **{f"{name}_key": pair.key.decode() for name, pair in made.items()}}

    def _certificate_names(self, role: Role) -> Sequence[str]:
        return []

    def _files(self, design: ClusterSpec, member: HostPlan) -> Mapping[str, bytes]:
        said = nodes.introduction(str(member.host), member.contact, member.host_key)
        files = {
            "node": bootstrap.node_name(member.host).encode(),
            "node.json": _json(said),
            "ignored": ",".join(bootstrap.ignored(member)).encode(),
            "notes": "".join(f"{note}\n" for note in _notes(member)).encode(),
            "containerd.toml": containerd.toml(containerd.containerd(member)),
            "cni/10-cloudmesh.conflist": _json(containerd.network()),
            "join.json": _json(bootstrap.join(member)),
        }
        for name, how in containerd.registries(design).items():
            files[f"hosts/{name}.toml"] = containerd.toml(how)
        for name, patch in bootstrap.patches(len(design.servers)).items():
            files[f"patches/{name}"] = _json(patch)
        for unit in ("cloudmesh-containerd.service", "cloudmesh-kubelet.service"):
            files[f"units/{unit}"] = host_script.load(f"kubernetes/{unit}").encode()
        if len(design.servers) > 1:
            lines = (f"{address} {bootstrap.API_NAME}\n" for address in design.servers)
            files["api"] = "".join(lines).encode()
        return {**files, **self._server_files(design, member)} if member.role is Role.SERVER else files

    def _server_files(self, design: ClusterSpec, member: HostPlan) -> Mapping[str, bytes]:
        secrets = design.secrets.engine
        accounts = certificates.KeyPair(secrets["accounts"].encode(), secrets["accounts_key"].encode())
        flannel = control_plane_images.reference("flannel", self._images or _PUBLIC_FLANNEL)
        init = bootstrap.init(design, member, token=credentials.generate_token(), images=self._images)
        files = {
            "kubernetes/authentication.json": _json(bootstrap.authentication()),
            "kubernetes/audit.json": _json(bootstrap.audit()),
            "init.yaml": b"\n---\n".join(map(_json, init)),
            "manifests.json": _json(
                {
                    "apiVersion": "v1",
                    "kind": "List",
                    "items": [*cluster_manifests.network(flannel), *cluster_manifests.jobs()],
                }
            ),
            "pki/sa.key": accounts.key,
            "pki/sa.pub": certificates.public_key(accounts),
        }
        for name, path in _AUTHORITIES.items():
            files[f"{path}.crt"] = secrets[name].encode()
            files[f"{path}.key"] = secrets[f"{name}_key"].encode()
        return files

    def _api(self, server: Connection, secrets: ClusterSecrets) -> AbstractContextManager[Engine]:
        from cloudmesh.cluster.providers.kubernetes.api import open_engine

        return open_engine(server, secrets)

    def _deliver(
        self, design: ClusterSpec, server: Connection, registry: Registry, bundle: BinaryBundle
    ) -> Mapping[str, str]:
        """Send the images too, unless the first server finds them where everybody does."""
        report = self.context.report
        reach = server.run(host_script.load("kubernetes/reach.sh"), report=report).facts
        self._images = "" if reach.get("images") == "yes" else f"{design.registry}/{control_plane_images.REPOSITORY}"
        if self._images:
            control_plane_images.deliver_images(registry, bundle, report=report)
        files = tuple(file for file in bundle.files if file.name in _HOST_FILES)
        return base.deliver_binaries(registry, dataclasses.replace(bundle, files=files), report)

    def _kubeconfig(self, design: ClusterSpec) -> bytes:
        from base64 import b64encode

        from cloudmesh.cluster.providers.kubernetes.api_client import administrator_certificate

        its = administrator_certificate(design.secrets)
        pems = {"client-certificate-data": its.certificate, "client-key-data": its.key}
        user = {name: b64encode(pem).decode() for name, pem in pems.items()}
        return _json(credentials.build_exported_kubeconfig(design, user, pod_spec.JOBS_NAMESPACE)) + b"\n"

    @contextmanager
    def _invited(self, design: ClusterSpec, server: Connection) -> Iterator[Mapping[str, bytes]]:
        from cloudmesh.cluster.providers.kubernetes.api import open_engine

        with open_engine(server, design.secrets) as api, api.invitation() as token:
            yield {bootstrap.INVITATION: _json(credentials.build_kubeconfig(design, {"token": token}))}


def _notes(member: HostPlan) -> Iterator[str]:
    """Yield what of a host is not as Kubernetes expects it, and what is done about it."""
    if member.facts.cgroup == 1:
        yield "control groups are of version 1: the kubelet is told to accept them, kubeadm's check of them is left out"
    if not member.facts.raises_limits:
        yield "root may not raise limits (CAP_SYS_RESOURCE): pods get no better out-of-memory score than it has"


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=2).encode()
