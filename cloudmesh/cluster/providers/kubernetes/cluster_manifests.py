"""What every cluster of ours runs and allows, beside what kubeadm puts there. Pure."""

from __future__ import annotations

import json
from typing import Any

from cloudmesh.cluster.providers.kubernetes import volumes
from cloudmesh.cluster.providers.kubernetes.bootstrap import POD_NETWORK
from cloudmesh.cluster.providers.kubernetes.pod_spec import JOBS_ACCOUNT, JOBS_NAMESPACE

NETWORK_NAMESPACE = "kube-flannel"
_RBAC = "rbac.authorization.k8s.io"


def network(image: str) -> list[dict[str, Any]]:
    """Return flannel, the network among the pods.

    Args:
        image: of flanneld.
    """
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    ]
    settings = {"Network": POD_NETWORK, "EnableNFTables": False, "Backend": {"Type": "vxlan"}}
    return [
        _namespace(NETWORK_NAMESPACE, "privileged"),
        _object("v1", "ServiceAccount", "flannel", NETWORK_NAMESPACE),
        _object(f"{_RBAC}/v1", "ClusterRole", "flannel", rules=rules),
        _binding("ClusterRole", "flannel", "flannel", NETWORK_NAMESPACE),
        _object("v1", "ConfigMap", "flannel", NETWORK_NAMESPACE, data={"net-conf.json": json.dumps(settings)}),
        _daemon(image),
    ]


def jobs() -> list[dict[str, Any]]:
    """Return the place for jobs, their results and what is known of storage, and the account of drivers.

    That may make executors, and nothing else.
    """
    everything = ["create", "get", "list", "watch", "patch", "delete", "deletecollection"]
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": everything},
        # Spark asks for what it may have left of these when it ends.
        {
            "apiGroups": [""],
            "resources": ["services", "configmaps"],
            "verbs": ["get", "list", "delete", "deletecollection"],
        },
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["list", "deletecollection"]},
    ]
    return [
        _namespace(JOBS_NAMESPACE, "baseline"),
        _object("v1", "ServiceAccount", JOBS_ACCOUNT, JOBS_NAMESPACE),
        # Executors are pods of this one; they have no business with the API.
        _object("v1", "ServiceAccount", "default", JOBS_NAMESPACE, automountServiceAccountToken=False),
        _object(f"{_RBAC}/v1", "Role", JOBS_ACCOUNT, JOBS_NAMESPACE, rules=rules),
        _binding("Role", JOBS_ACCOUNT, JOBS_ACCOUNT, JOBS_NAMESPACE),
        *volumes.build_results_volume(),
        _namespace(volumes.NAMESPACE, "restricted"),
    ]


def _daemon(image: str) -> dict[str, Any]:
    labels = {"app": "flannel"}
    field = {"fieldRef": {"fieldPath": "status.hostIP"}}
    mounts = {"run": "/run/flannel", "settings": "/etc/kube-flannel", "lock": "/run/xtables.lock"}
    container = {
        "name": "flannel",
        "image": image,
        "args": ["--ip-masq", "--kube-subnet-mgr", "--iface=$(HOST_ADDRESS)"],
        "env": [
            {"name": "HOST_ADDRESS", "valueFrom": field},
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
    return _object("apps/v1", "DaemonSet", "flannel", NETWORK_NAMESPACE, spec=spec)


def _namespace(name: str, security: str) -> dict[str, Any]:
    found = _object("v1", "Namespace", name)
    found["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": security}
    return found


def _binding(kind: str, role: str, account: str, namespace: str) -> dict[str, Any]:
    """Return what gives a role to an account; in the whole cluster where it is a ClusterRole."""
    return _object(
        f"{_RBAC}/v1",
        f"{kind}Binding",
        role,
        "" if kind == "ClusterRole" else namespace,
        roleRef={"apiGroup": _RBAC, "kind": kind, "name": role},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    )


def _object(version: str, kind: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
