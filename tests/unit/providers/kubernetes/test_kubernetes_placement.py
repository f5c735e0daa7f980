"""Which objects that users wrote have pods that no node could ever take."""

from __future__ import annotations

from typing import Any

import pytest

from cloudmesh.cluster.providers.kubernetes.placement import why_never_placed

NODES = [
    {"metadata": {"labels": {"disk": "hdd", "zone": "a"}}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}},
    {"metadata": {"labels": {"disk": "ssd", "zone": "b"}}, "status": {"allocatable": {"cpu": "4", "memory": "2Gi"}}},
]


def pod(*requests: dict[str, str], key: str = "requests", **fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "resources": {key: request}} for request in requests or ({},)], **fields}


def manifest(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = spec if kind == "Pod" else {"template": {"spec": spec}}
    return {"kind": kind, "spec": {"jobTemplate": {"spec": inner}} if kind == "CronJob" else inner}


@pytest.mark.parametrize("kind", ["Pod", "Job", "CronJob", "Deployment", "StatefulSet", "ReplicaSet"])
def test_labels_that_no_node_has_together_are_named(kind: str) -> None:
    wanted = manifest(kind, pod(nodeSelector={"zone": "a", "disk": "ssd"}))
    assert why_never_placed(wanted, NODES) == "no node has the labels of its nodeSelector: disk=ssd, zone=a"
    assert why_never_placed(manifest(kind, pod(nodeSelector={"zone": "b", "disk": "ssd"})), NODES) == ""


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ([{"cpu": "2500m"}, {"cpu": "2"}], "a pod requests 4.5 cores, and the largest node has 4"),
        ([{"memory": "5Gi"}], "a pod requests 5120 MiB of memory, and the largest node has 4096"),
        ([{"cpu": "4", "memory": "4Gi"}], ""),
    ],
)
def test_a_pod_larger_than_every_node_is_told_by_how_much(requests: list[dict[str, str]], says: str) -> None:
    assert why_never_placed(manifest("Job", pod(*requests)), NODES) == says
    assert why_never_placed(manifest("Job", pod(*requests, key="limits")), NODES) == says


@pytest.mark.parametrize(
    "malformed",
    [
        {"kind": "Job"},
        {"kind": "Job", "spec": None},
        {"kind": "Pod", "spec": {"containers": [3]}},
        {"kind": "Pod", "spec": pod({"cpu": "many"})},
        {"kind": "Pod", "spec": pod(nodeSelector="x")},
        {"kind": "ConfigMap", "data": {}},
    ],
)
def test_what_is_malformed_or_has_no_pods_is_left_to_the_api_server(malformed: dict[str, Any]) -> None:
    assert why_never_placed(malformed, NODES) == ""
