"""KubernetesProvider: how a host becomes part of a Kubernetes cluster."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from cloudmesh.cluster import delivery, pki
from cloudmesh.cluster.api import Api
from cloudmesh.cluster.blueprint import REGISTRY_PORT, Blueprint, Member, Secrets
from cloudmesh.cluster.engines import Bundle
from cloudmesh.cluster.hosts import script
from cloudmesh.cluster.hosts.preflight import Needs
from cloudmesh.cluster.kubernetes import config, images, kubeconfig, manifests, nodes, pods, runtime, tokens
from cloudmesh.cluster.model import Role
from cloudmesh.cluster.provider import Provider

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection
    from cloudmesh.cluster.images.registry import Registry

_MEMORY_MB, _DISK_MB = 1700, 8000
_HOST_FILES = ("kubeadm", "kubelet", "kubectl", "flannel")
_AUTHORITIES = {"ca": "pki/ca", "front_proxy": "pki/front-proxy-ca", "etcd": "pki-etcd/ca"}
_PUBLIC_FLANNEL = "ghcr.io/flannel-io"


class KubernetesProvider(Provider):
    """Clusters of Kubernetes by kubeadm, with containerd and flannel."""

    kind = "kubernetes"
    endpoint = f"https://127.0.0.1:{config.API_PORT}"

    # Where the images of the control plane are; empty: where everybody finds them.
    _images = ""

    def _needs(self) -> Needs:
        return Needs(ports=(*config.PORTS, REGISTRY_PORT), memory_mb=_MEMORY_MB, disk_mb=_DISK_MB)

    def _script(self) -> str:
        return script.load("host/lib.sh", "host/clean.sh", "kubernetes/walkthrough.sh")

    def _new_secrets(self) -> Mapping[str, str]:
        made = {name: pki.new_authority(name) for name in (*_AUTHORITIES, "accounts")}
        found = {name: pair.certificate.decode() for name, pair in made.items()}
        return {**found, **{f"{name}_key": pair.key.decode() for name, pair in made.items()}}

    def _certificate_names(self, role: Role) -> Sequence[str]:
        return []

    def _files(self, design: Blueprint, member: Member) -> Mapping[str, bytes]:
        said = nodes.introduction(str(member.host), member.contact, member.host_key)
        files = {
            "node": config.node_name(member.host).encode(),
            "node.json": _json(said),
            "ignored": ",".join(config.ignored(member)).encode(),
            "notes": "".join(f"{note}\n" for note in _notes(member)).encode(),
            "containerd.toml": runtime.toml(runtime.containerd(member)),
            "cni/10-cloudmesh.conflist": _json(runtime.network()),
            "join.json": _json(config.join(member)),
        }
        for name, how in runtime.registries(design).items():
            files[f"hosts/{name}.toml"] = runtime.toml(how)
        for name, patch in config.patches(len(design.servers)).items():
            files[f"patches/{name}"] = _json(patch)
        for unit in ("cloudmesh-containerd.service", "cloudmesh-kubelet.service"):
            files[f"units/{unit}"] = script.load(f"kubernetes/{unit}").encode()
        if len(design.servers) > 1:
            lines = (f"{address} {config.API_NAME}\n" for address in design.servers)
            files["api"] = "".join(lines).encode()
        return {**files, **self._server_files(design, member)} if member.role is Role.SERVER else files

    def _server_files(self, design: Blueprint, member: Member) -> Mapping[str, bytes]:
        secrets = design.secrets.engine
        accounts = pki.KeyPair(secrets["accounts"].encode(), secrets["accounts_key"].encode())
        flannel = images.reference("flannel", self._images or _PUBLIC_FLANNEL)
        init = config.init(design, member, token=tokens.new(), images=self._images)
        files = {
            "kubernetes/authentication.json": _json(config.authentication()),
            "kubernetes/audit.json": _json(config.audit()),
            "init.yaml": b"\n---\n".join(map(_json, init)),
            "manifests.json": _json(
                {"apiVersion": "v1", "kind": "List", "items": [*manifests.network(flannel), *manifests.jobs()]}
            ),
            "pki/sa.key": accounts.key,
            "pki/sa.pub": pki.public_key(accounts),
        }
        for name, path in _AUTHORITIES.items():
            files[f"{path}.crt"] = secrets[name].encode()
            files[f"{path}.key"] = secrets[f"{name}_key"].encode()
        return files

    def _api(self, server: Connection, secrets: Secrets) -> AbstractContextManager[Api]:
        from cloudmesh.cluster.kubernetes.api import connected

        return connected(server, secrets)

    def _deliver(self, design: Blueprint, server: Connection, registry: Registry, bundle: Bundle) -> Mapping[str, str]:
        """Send the images too, unless the first server finds them where everybody does."""
        report = self.context.report
        reach = server.run(script.load("kubernetes/reach.sh"), report=report).facts
        self._images = "" if reach.get("images") == "yes" else f"{design.registry}/{images.REPOSITORY}"
        if self._images:
            images.deliver_images(registry, bundle, report=report)
        files = tuple(file for file in bundle.files if file.name in _HOST_FILES)
        return delivery.deliver_engine(registry, dataclasses.replace(bundle, files=files), report)

    def _kubeconfig(self, design: Blueprint) -> bytes:
        from base64 import b64encode

        from cloudmesh.cluster.kubernetes.access import administrator

        its = administrator(design.secrets)
        pems = {"client-certificate-data": its.certificate, "client-key-data": its.key}
        user = {name: b64encode(pem).decode() for name, pem in pems.items()}
        return _json(kubeconfig.exported(design, user, pods.JOBS_NAMESPACE)) + b"\n"

    @contextmanager
    def _invited(self, design: Blueprint, server: Connection) -> Iterator[Mapping[str, bytes]]:
        from cloudmesh.cluster.kubernetes.api import connected

        with connected(server, design.secrets) as api, api.invitation() as token:
            yield {config.INVITATION: _json(kubeconfig.internal(design, {"token": token}))}


def _notes(member: Member) -> Iterator[str]:
    """Yield what of a host is not as Kubernetes expects it, and what is done about it."""
    if member.facts.cgroup == 1:
        yield "control groups are of version 1: the kubelet is told to accept them, kubeadm's check of them is left out"
    if not member.facts.raises_limits:
        yield "root may not raise limits (CAP_SYS_RESOURCE): pods get no better out-of-memory score than it has"


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=2).encode()
