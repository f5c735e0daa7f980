"""Builds the configuration files with which a host becomes part of a Kubernetes cluster.

Source of the keys: kubeadm.k8s.io/v1beta4, kubelet.config.k8s.io/v1beta1, apiserver.config.k8s.io/v1; Kubernetes 1.36.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSpec, HostPlan
from cloudmesh.cluster.core.model import Role

API_PORT, KUBELET_PORT, PROXY_PORT = 6443, 10250, 10256
# Ports that must be free: API, kubelet, controller manager, scheduler, etcd (two), and the health of kube-proxy.
PORTS = (API_PORT, KUBELET_PORT, 10257, 10259, 2379, 2380, PROXY_PORT)
# The networks of the cluster's own, and which they can be; the first is what kubeadm's users expect.
PODS, SERVICES = "pods", "services"
NETWORKS = {
    PODS: ("10.244.0.0/16", "172.28.0.0/16", "100.96.0.0/16", "198.18.0.0/16"),
    SERVICES: ("10.96.0.0/16", "172.29.0.0/16", "100.97.0.0/16", "198.19.0.0/16"),
}
# By this name, which /etc/hosts maps to all servers, hosts reach the API: servers may come and go.
API_NAME = "api.cloudmesh"
ENDPOINT = f"{API_NAME}:{API_PORT}"
SOCKET = "/run/cloudmesh/containerd.sock"
# An input file of the host script, relative to its folder: the kubeconfig with which a host joins.
INVITATION = "invitation.json"
_CONFIG = "/etc/cloudmesh/cluster"
# On every host, the authorities of those whom the API and the kubelet let in, and by which pods know the API.
_AUTHORITIES = f"{_CONFIG}/kubernetes/authorities.pem"
_DATA = "/var/lib/cloudmesh"
_AUDIT = "/var/log/kubernetes"
_PLUGINS = "/var/lib/kubelet/volumeplugins"
_TAINT = "node-role.kubernetes.io/control-plane"
# With less than this, a host accepts no more pods, and the kubelet evicts some of those that it has.
_EVICTION_LIMITS = {
    "memory.available": "100Mi",
    "nodefs.available": "1Gi",
    "imagefs.available": "1Gi",
    "nodefs.inodesFree": "5%",
    "imagefs.inodesFree": "5%",
}
# What the pods of the control plane request: less than kubeadm has, so that a small server has room for jobs.
_CONTROL_PLANE_REQUESTS = {
    "kube-apiserver": {"cpu": "150m", "memory": "320Mi"},
    "kube-controller-manager": {"cpu": "50m", "memory": "80Mi"},
    "kube-scheduler": {"cpu": "25m", "memory": "50Mi"},
    "etcd": {"cpu": "100m", "memory": "100Mi"},
}
# Long enough for slow machines. By default, kubeadm waits one minute for an answer of the API, and four for the rest.
_TIMEOUTS = {
    "controlPlaneComponentHealthCheck": "8m0s",
    "kubeletHealthCheck": "8m0s",
    "kubernetesAPICall": "5m0s",
    "etcdAPICall": "5m0s",
    "tlsBootstrap": "8m0s",
    "discovery": "8m0s",
}


def network(spec: ClusterSpec, purpose: str) -> str:
    """Return the network, as CIDR, that a cluster has for its PODS or SERVICES."""
    return spec.secrets.networks.get(purpose, NETWORKS[purpose][0])


def build_init_documents(spec: ClusterSpec, plan: HostPlan, *, token: str, images: str) -> list[dict[str, Any]]:
    """Return the documents of the configuration file of `kubeadm init`, which starts the first server.

    Args:
        spec: the cluster.
        plan: the first server.
        token: a bootstrap token, which kubeadm requires. Nobody uses it, and it expires within a minute.
        images: the repository of the images of the control plane; empty: the one that kubeadm uses by default.
    """
    return [
        _kubeadm(
            "InitConfiguration",
            bootstrapTokens=[{"token": token, "ttl": "1m0s", "usages": ["authentication"]}],
            localAPIEndpoint={"advertiseAddress": plan.facts.address, "bindPort": API_PORT},
            nodeRegistration=_build_registration(plan),
            patches={"directory": f"{_CONFIG}/patches"},
            skipPhases=["show-join-command"],
            timeouts=_TIMEOUTS,
        ),
        _build_cluster_configuration(spec, images),
        _build_kubelet_configuration(),
        _build_proxy_configuration(),
    ]


def build_join_configuration(plan: HostPlan) -> dict[str, Any]:
    """Return the configuration of `kubeadm join`, with which a host joins the cluster.

    The file INVITATION, which comes through SSH, names the API and contains the certificate authority of the cluster
    itself. So kubeadm does not have to fetch the authority over a network on which others could answer.
    """
    fields: dict[str, Any] = {
        "nodeRegistration": _build_registration(plan),
        "discovery": {"file": {"kubeConfigPath": INVITATION}},
        "timeouts": _TIMEOUTS,
        "patches": {"directory": f"{_CONFIG}/patches"},
    }
    if plan.role is Role.SERVER:
        api = {"advertiseAddress": plan.facts.address, "bindPort": API_PORT}
        fields["controlPlane"] = {"localAPIEndpoint": api}
    return _kubeadm("JoinConfiguration", **fields)


def build_upgrade_configuration(spec: ClusterSpec, plan: HostPlan) -> dict[str, Any]:
    """Return the configuration of `kubeadm upgrade`, for the first host of the cluster, and for all others.

    `lifecycle/upgrade.py` has seen to it that the version may follow. `forceUpgrade` means that kubeadm asks nothing,
    and that what was cut off is gone on with. Its check by a job of its own would fail where no host takes jobs now.
    Certificates are left as they are: they last as long as the cluster.
    """
    shared = {
        "ignorePreflightErrors": [*list_ignored_checks(plan), "CreateJob"],
        "patches": {"directory": f"{_CONFIG}/patches"},
        "certificateRenewal": False,
        "etcdUpgrade": True,
    }
    apply = {**shared, "kubernetesVersion": f"v{spec.version}", "forceUpgrade": True}
    return _kubeadm("UpgradeConfiguration", apply=apply, node=shared, timeouts=_TIMEOUTS)


def list_ignored_checks(plan: HostPlan) -> list[str]:
    """Return the names of the preflight checks of kubeadm whose failure is ignored.

    `hosts/preflight.py` has checked the host before, with limits that small hosts meet. The check SystemVerification
    refuses hosts with control groups of version 1.
    """
    return ["NumCPU", "Mem"] + ["SystemVerification"] * (plan.facts.cgroup == 1)


def build_patches(servers: int) -> dict[str, dict[str, Any]]:
    """Return the patches for the pods that kubeadm creates, by the names of their files.

    Args:
        servers: how many servers the cluster has. The cluster runs as many name servers, each on another host.
    """
    files = {
        f"{name}+strategic.json": _build_requests_patch(name, requests)
        for name, requests in _CONTROL_PLANE_REQUESTS.items()
    }
    dns = _build_requests_patch("coredns", {"cpu": "20m", "memory": "70Mi"})
    not_beside = {
        "labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    dns["spec"]["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [not_beside]}}
    return {**files, "corednsdeployment+strategic.json": {"spec": {"replicas": servers, "template": dns}}}


def build_authentication_configuration() -> dict[str, Any]:
    """Return the configuration by which the API answers requests without a credential only on whether it is healthy.

    The kubelet asks this to check the API server's pod.
    """
    paths = [{"path": path} for path in ("/livez", "/readyz", "/healthz")]
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": True, "conditions": paths},
    }


def build_encryption_configuration(keys: Sequence[str]) -> dict[str, Any]:
    """Return the configuration by which the API encrypts secrets in its store.

    Args:
        keys: 32 random bytes, base64; the first one encrypts, and what any of them has encrypted can be read.
    """
    named = [{"name": hashlib.sha256(key.encode()).hexdigest()[:8], "secret": key} for key in keys]
    # What was stored before there was a key can be read too.
    providers: list[dict[str, Any]] = [{"secretbox": {"keys": named}}, {"identity": {}}]
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    }


def build_audit_policy() -> dict[str, Any]:
    """Return the audit policy: every change and every read of a secret is logged, without its content."""
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


def _build_requests_patch(container: str, requests: Mapping[str, str]) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": container, "resources": {"requests": dict(requests)}}]}}


def _build_cluster_configuration(spec: ClusterSpec, images: str) -> dict[str, Any]:
    fields = _kubeadm(
        "ClusterConfiguration",
        kubernetesVersion=f"v{spec.version}",
        clusterName=spec.cluster,
        controlPlaneEndpoint=ENDPOINT,
        networking={"podSubnet": network(spec, PODS), "serviceSubnet": network(spec, SERVICES)},
        apiServer={
            "certSANs": [API_NAME, "127.0.0.1", *spec.servers],
            "extraArgs": _build_arguments(
                {
                    "client-ca-file": _AUTHORITIES,
                    "encryption-provider-config": f"{_CONFIG}/kubernetes/encryption.json",
                    "authentication-config": f"{_CONFIG}/kubernetes/authentication.json",
                    "audit-policy-file": f"{_CONFIG}/kubernetes/audit.json",
                    "audit-log-path": f"{_AUDIT}/audit.log",
                    "audit-log-maxage": "30",
                    "audit-log-maxbackup": "5",
                    "audit-log-maxsize": "100",
                    "profiling": "false",
                }
            ),
            "extraVolumes": [
                _build_host_volume("cloudmesh", f"{_CONFIG}/kubernetes", "Directory", read_only=True),
                _build_host_volume("audit", _AUDIT, "DirectoryOrCreate", read_only=False),
            ],
        },
        controllerManager={
            "extraArgs": _build_arguments(
                {"profiling": "false", "flex-volume-plugin-dir": _PLUGINS, "root-ca-file": _AUTHORITIES}
            ),
            "extraVolumes": [_build_host_volume("cloudmesh", f"{_CONFIG}/kubernetes", "Directory", read_only=True)],
        },
        scheduler={"extraArgs": _build_arguments({"profiling": "false"})},
        etcd={"local": {"dataDir": f"{_DATA}/etcd"}},
        encryptionAlgorithm="ECDSA-P256",
        certificateValidityPeriod=f"{certificates.LIFETIME // timedelta(seconds=1)}s",
    )
    return {**fields, "imageRepository": images} if images else fields


def _build_kubelet_configuration() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": _AUTHORITIES}},
        "cgroupDriver": "systemd",
        # The operator of a host with version 1 control groups is told so; on other hosts this has no effect.
        "failCgroupV1": False,
        "failSwapOn": False,
        "systemReserved": {"memory": "384Mi"},
        # The defaults are shares of the disk: pods would be evicted from a large disk with tens of gigabytes free.
        "evictionHard": _EVICTION_LIMITS,
        "imageGCHighThresholdPercent": 95,
        "imageGCLowThresholdPercent": 90,
        # What pods print is read by the byte from one file, see logs.py: keep-output.sh bounds it, not the kubelet.
        "containerLogMaxSize": f"{1 << 50}",
        "volumePluginDir": _PLUGINS,
    }


def _build_proxy_configuration() -> dict[str, Any]:
    """Return the configuration of kube-proxy.

    It does not change settings of the kernel, as they would outlive the cluster, and shows its health to no other host.
    """
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "healthzBindAddress": f"127.0.0.1:{PROXY_PORT}",
        "iptables": {"localhostNodePorts": False},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _build_registration(plan: HostPlan) -> dict[str, Any]:
    return {
        "name": plan.node,
        "criSocket": f"unix://{SOCKET}",
        "kubeletExtraArgs": _build_arguments({"node-ip": plan.facts.address}),
        "imagePullSerial": False,
        "taints": [] if plan.takes_jobs else [{"key": _TAINT, "effect": "NoSchedule"}],
    }


def _kubeadm(kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": kind, **fields}


def _build_arguments(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _build_host_volume(name: str, path: str, kind: str, *, read_only: bool) -> dict[str, Any]:
    return {"name": name, "hostPath": path, "mountPath": path, "pathType": kind, "readOnly": read_only}
