"""The configuration of a host's part of Kubernetes, as Python objects. Pure: nothing here reaches a host.

Source of the keys: kubeadm.k8s.io/v1beta4, kubelet.config.k8s.io/v1beta1, apiserver.config.k8s.io/v1; Kubernetes 1.36.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cloudmesh.cluster.binaries.pinned import KUBERNETES
from cloudmesh.cluster.core.cluster_spec import ClusterSpec, HostPlan
from cloudmesh.cluster.core.model import Host, Role

API_PORT, KUBELET_PORT, PROXY_PORT = 6443, 10250, 10256
# What must be free: the API, the kubelet, controller manager, scheduler, etcd's two, kube-proxy's health.
PORTS = (API_PORT, KUBELET_PORT, 10257, 10259, 2379, 2380, PROXY_PORT)
POD_NETWORK, SERVICE_NETWORK = "10.244.0.0/16", "10.96.0.0/16"
# Where there are several servers, hosts know the API by a name that stands for all of them (in /etc/hosts).
API_NAME = "api.cloudmesh"
SOCKET = "/run/cloudmesh/containerd.sock"
# Input of the host script, relative to its folder: who lets a host in.
INVITATION = "invitation.json"
_CONFIG = "/etc/cloudmesh/cluster"
_DATA = "/var/lib/cloudmesh"
_AUDIT = "/var/log/kubernetes"
_PLUGINS = "/var/lib/kubelet/volumeplugins"
_TAINT = "node-role.kubernetes.io/control-plane"
_LIFETIME = "87600h"
# What a host must have left, or no job begins on it.
_LEAST = {
    "memory.available": "100Mi",
    "nodefs.available": "1Gi",
    "imagefs.available": "1Gi",
    "nodefs.inodesFree": "5%",
    "imagefs.inodesFree": "5%",
}
_GATES = {"PodLogsQuerySplitStreams": True}
# What the control plane asks for, CPU in thousandths: less than kubeadm says, so that a small server has room for jobs.
_SHARES = {
    "kube-apiserver": {"cpu": "150m", "memory": "320Mi"},
    "kube-controller-manager": {"cpu": "50m", "memory": "80Mi"},
    "kube-scheduler": {"cpu": "25m", "memory": "50Mi"},
    "etcd": {"cpu": "100m", "memory": "100Mi"},
}

# Slow machines get there too; kubeadm itself would wait a minute for an answer of the API, and four for what runs.
_PATIENCE = {
    "controlPlaneComponentHealthCheck": "8m0s",
    "kubeletHealthCheck": "8m0s",
    "kubernetesAPICall": "5m0s",
    "etcdAPICall": "5m0s",
    "tlsBootstrap": "8m0s",
    "discovery": "8m0s",
}


def node_name(host: Host) -> str:
    """Return the name of a host's node, an RFC 1123 subdomain."""
    return re.sub(r"[^a-z0-9.-]+", "-", str(host).lower()).strip("-.")


def endpoint(design: ClusterSpec) -> str:
    """Return where the hosts find the API: "HOST:PORT"."""
    return f"{API_NAME if len(design.servers) > 1 else design.servers[0]}:{API_PORT}"


def init(design: ClusterSpec, member: HostPlan, *, token: str, images: str) -> list[dict[str, Any]]:
    """Return what `kubeadm init` makes the first server of.

    Args:
        design: the cluster.
        member: the first server.
        token: kubeadm insists on one; it is nobody's, and ends within a minute.
        images: where all images are; empty: where kubeadm looks for them.
    """
    return [
        _kubeadm(
            "InitConfiguration",
            bootstrapTokens=[{"token": token, "ttl": "1m0s", "usages": ["authentication"]}],
            localAPIEndpoint={"advertiseAddress": member.facts.address, "bindPort": API_PORT},
            nodeRegistration=_registration(member),
            patches={"directory": f"{_CONFIG}/patches"},
            skipPhases=["show-join-command"],
            timeouts=_PATIENCE,
        ),
        _cluster(design, images),
        _kubelet(),
        _proxy(),
    ]


def join(member: HostPlan) -> dict[str, Any]:
    """Return what `kubeadm join` makes a host part of the cluster with.

    The API is known by a file that came through SSH and holds the cluster's certificate authority itself, which says
    more than its hash: nothing is asked of the network that anyone else could answer.
    """
    fields: dict[str, Any] = {
        "nodeRegistration": _registration(member),
        "discovery": {"file": {"kubeConfigPath": INVITATION}},
        "timeouts": _PATIENCE,
        "patches": {"directory": f"{_CONFIG}/patches"},
    }
    if member.role is Role.SERVER:
        point = {"advertiseAddress": member.facts.address, "bindPort": API_PORT}
        fields["controlPlane"] = {"localAPIEndpoint": point}
    return _kubeadm("JoinConfiguration", **fields)


def ignored(member: HostPlan) -> list[str]:
    """Return the checks of kubeadm's that do not count: ours come before, and know more of small and old hosts."""
    return ["NumCPU", "Mem"] + ["SystemVerification"] * (member.facts.cgroup == 1)


def patches(servers: int) -> dict[str, dict[str, Any]]:
    """Return what is different from kubeadm's own pods, by the name of the patch file.

    Args:
        servers: of the cluster; each has a name server, or at least as many hosts.
    """

    def of(name: str, resources: Mapping[str, str]) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": name, "resources": {"requests": dict(resources)}}]}}

    found = {f"{name}+strategic.json": of(name, resources) for name, resources in _SHARES.items()}
    dns = of("coredns", {"cpu": "20m", "memory": "70Mi"})
    apart = {
        "labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    dns["spec"]["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    return {**found, "corednsdeployment+strategic.json": {"spec": {"replicas": servers, "template": dns}}}


def authentication() -> dict[str, Any]:
    """Return that the API answers nobody without a credential, but the kubelet, which asks whether it is well."""
    paths = [{"path": path} for path in ("/livez", "/readyz", "/healthz")]
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": True, "conditions": paths},
    }


def audit() -> dict[str, Any]:
    """Return what is kept of who did what: every change, and every look at a secret, without its content."""
    secrets = [{"group": "", "resources": ["secrets"]}]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "None", "users": ["system:apiserver"]},
            {"level": "Metadata", "resources": secrets},
            {"level": "None", "verbs": ["get", "list", "watch"]},
            {"level": "Metadata"},
        ],
    }


def _cluster(design: ClusterSpec, images: str) -> dict[str, Any]:
    name, _, _ = endpoint(design).rpartition(":")
    fields = _kubeadm(
        "ClusterConfiguration",
        kubernetesVersion=f"v{KUBERNETES.version}",
        clusterName=design.cluster,
        controlPlaneEndpoint=endpoint(design),
        networking={"podSubnet": POD_NETWORK, "serviceSubnet": SERVICE_NETWORK},
        apiServer={
            "certSANs": [name, "127.0.0.1", *design.servers],
            "extraArgs": _arguments(
                {
                    "authentication-config": f"{_CONFIG}/kubernetes/authentication.json",
                    "audit-policy-file": f"{_CONFIG}/kubernetes/audit.json",
                    "audit-log-path": f"{_AUDIT}/audit.log",
                    "audit-log-maxage": "30",
                    "audit-log-maxbackup": "5",
                    "audit-log-maxsize": "100",
                    "feature-gates": ",".join(f"{gate}={str(on).lower()}" for gate, on in _GATES.items()),
                    "profiling": "false",
                }
            ),
            "extraVolumes": [
                _volume("cloudmesh", f"{_CONFIG}/kubernetes", "Directory", read_only=True),
                _volume("audit", _AUDIT, "DirectoryOrCreate", read_only=False),
            ],
        },
        controllerManager={"extraArgs": _arguments({"profiling": "false", "flex-volume-plugin-dir": _PLUGINS})},
        scheduler={"extraArgs": _arguments({"profiling": "false"})},
        etcd={"local": {"dataDir": f"{_DATA}/etcd"}},
        encryptionAlgorithm="ECDSA-P256",
        certificateValidityPeriod=_LIFETIME,
    )
    return {**fields, "imageRepository": images} if images else fields


def _kubelet() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        # Hosts with version 1 control groups are told so when they are prepared; elsewhere it means nothing.
        "failCgroupV1": False,
        "failSwapOn": False,
        "featureGates": _GATES,
        "systemReserved": {"memory": "384Mi"},
        # By default in shares of the disk: of a large one, tens of gigabytes would lie idle and jobs be driven out.
        "evictionHard": _LEAST,
        "imageGCHighThresholdPercent": 95,
        "imageGCLowThresholdPercent": 90,
        "containerLogMaxSize": "100Mi",
        "containerLogMaxFiles": 2,
        "volumePluginDir": _PLUGINS,
    }


def _proxy() -> dict[str, Any]:
    """Return kube-proxy's configuration.

    It leaves the kernel's settings alone, as they would outlive the cluster, and tells no other host how it is.
    """
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "healthzBindAddress": f"127.0.0.1:{PROXY_PORT}",
        "iptables": {"localhostNodePorts": False},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _registration(member: HostPlan) -> dict[str, Any]:
    return {
        "name": node_name(member.host),
        "criSocket": f"unix://{SOCKET}",
        "kubeletExtraArgs": _arguments({"node-ip": member.facts.address}),
        "imagePullSerial": False,
        "taints": [] if member.takes_jobs else [{"key": _TAINT, "effect": "NoSchedule"}],
    }


def _kubeadm(kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": kind, **fields}


def _arguments(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _volume(name: str, path: str, kind: str, *, read_only: bool) -> dict[str, Any]:
    return {"name": name, "hostPath": path, "mountPath": path, "pathType": kind, "readOnly": read_only}
