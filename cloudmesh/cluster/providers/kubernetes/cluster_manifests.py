"""The objects that every cluster of ours has, in addition to those that kubeadm creates."""

from __future__ import annotations

import json
from typing import Any

from cloudmesh.cluster.providers.kubernetes import volumes
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOBS_ACCOUNT, JOBS_NAMESPACE

NETWORK_NAMESPACE = "kube-flannel"
HOSTS_ROLE = "hosts"
_RBAC = "rbac.authorization.k8s.io"


def build_network_manifests(image: str, network: str) -> list[dict[str, Any]]:
    """Return the objects of flannel, the network between pods.

    Args:
        image: the image of flanneld.
        network: of the pods, as CIDR.
    """
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    ]
    settings = {"Network": network, "EnableNFTables": False, "Backend": {"Type": "vxlan"}}
    return [
        _build_namespace(NETWORK_NAMESPACE, "privileged"),
        _build_object("v1", "ServiceAccount", "flannel", NETWORK_NAMESPACE),
        _build_object(f"{_RBAC}/v1", "ClusterRole", "flannel", rules=rules),
        _build_binding("ClusterRole", "flannel", "flannel", NETWORK_NAMESPACE),
        _build_object("v1", "ConfigMap", "flannel", NETWORK_NAMESPACE, data={"net-conf.json": json.dumps(settings)}),
        _build_daemonset(image),
    ]


def build_jobs_manifests() -> list[dict[str, Any]]:
    """Return the namespaces for jobs and for volumes, the volume for results, and who may do what there.

    The account of Spark drivers can create executors, and hosts can get jobs by their names; neither can do more.
    """
    all_verbs = ["create", "get", "list", "watch", "patch", "delete", "deletecollection"]
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": all_verbs},
        # When Spark ends, it deletes such objects of its job, in case there are any.
        {
            "apiGroups": [""],
            "resources": ["services", "configmaps"],
            "verbs": ["get", "list", "delete", "deletecollection"],
        },
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["list", "deletecollection"]},
    ]
    return [
        _build_namespace(JOBS_NAMESPACE, "baseline"),
        _build_object("v1", "ServiceAccount", JOBS_ACCOUNT, JOBS_NAMESPACE),
        # Executors run with this account; they do not need the API.
        _build_object("v1", "ServiceAccount", "default", JOBS_NAMESPACE, automountServiceAccountToken=False),
        _build_object(f"{_RBAC}/v1", "Role", JOBS_ACCOUNT, JOBS_NAMESPACE, rules=rules),
        _build_binding("Role", JOBS_ACCOUNT, JOBS_ACCOUNT, JOBS_NAMESPACE),
        # By this a host sees which results are of jobs that there are no more; see images/kubernetes/expire-results.sh.
        _build_object(
            f"{_RBAC}/v1",
            "Role",
            HOSTS_ROLE,
            JOBS_NAMESPACE,
            rules=[{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]}],
        ),
        _build_object(
            f"{_RBAC}/v1",
            "RoleBinding",
            HOSTS_ROLE,
            JOBS_NAMESPACE,
            roleRef={"apiGroup": _RBAC, "kind": "Role", "name": HOSTS_ROLE},
            subjects=[{"apiGroup": _RBAC, "kind": "Group", "name": "system:nodes"}],
        ),
        *volumes.build_results_volume(),
        _build_namespace(volumes.NAMESPACE, "restricted"),
    ]


def _build_daemonset(image: str) -> dict[str, Any]:
    labels = {"app": "flannel"}
    host_address = {"fieldRef": {"fieldPath": "status.hostIP"}}
    mounts = {"run": "/run/flannel", "settings": "/etc/kube-flannel", "lock": "/run/xtables.lock"}
    container = {
        "name": "flannel",
        "image": image,
        "args": ["--ip-masq", "--kube-subnet-mgr", "--iface=$(HOST_ADDRESS)"],
        "env": [
            {"name": "HOST_ADDRESS", "valueFrom": host_address},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "50Mi"}},
        "securityContext": {"privileged": False, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
    }
    pod = {
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "serviceAccountName": "flannel",
        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        "containers": [container],
        "volumes": [
            {"name": "run", "hostPath": {"path": "/run/flannel", "type": "DirectoryOrCreate"}},
            {"name": "settings", "configMap": {"name": "flannel"}},
            {"name": "lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
        ],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return _build_object("apps/v1", "DaemonSet", "flannel", NETWORK_NAMESPACE, spec=spec)


def _build_namespace(name: str, security: str) -> dict[str, Any]:
    """Return a namespace; `security` is the Pod Security Standard that its pods must meet: "baseline"."""
    namespace = _build_object("v1", "Namespace", name)
    namespace["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": security}
    return namespace


def _build_binding(kind: str, role: str, account: str, namespace: str) -> dict[str, Any]:
    """Return the binding that gives a role to a service account; a ClusterRole holds in the whole cluster."""
    return _build_object(
        f"{_RBAC}/v1",
        f"{kind}Binding",
        role,
        "" if kind == "ClusterRole" else namespace,
        roleRef={"apiGroup": _RBAC, "kind": kind, "name": role},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    )


def _build_object(version: str, kind: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
