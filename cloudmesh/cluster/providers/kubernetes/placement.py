"""Whether Kubernetes can ever place the pods of an object that a user wrote; else they wait for other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_Object = Mapping[str, Any]

# Where an object of this kind has the spec of its pods.
_POD_SPECS = {
    "Pod": ("spec",),
    **dict.fromkeys(("Deployment", "StatefulSet", "ReplicaSet", "Job"), ("spec", "template", "spec")),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
_UNITS = {"cpu": ("cores", 1), "memory": ("MiB of memory", 1 << 20)}


def why_never_placed(manifest: _Object, nodes: Sequence[_Object]) -> str:
    """Return why no node could take the pods of an object, even without other pods; empty if one could.

    Args:
        manifest: the object as the user wrote it. What is malformed is the API server's to refuse.
        nodes: all nodes as Kubernetes describes them, whether they are ready or not.
    """
    if manifest["kind"] not in _POD_SPECS or not nodes:
        return ""
    pod: Any = manifest
    try:
        for step in _POD_SPECS[manifest["kind"]]:
            pod = pod[step]
        return _find_unmet_selector(pod, nodes) or next(_find_too_large(pod, nodes), "")
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def _find_unmet_selector(pod: _Object, nodes: Iterable[_Object]) -> str:
    """Return which labels no node has, or has together; empty if one has them."""
    wanted = dict(pod.get("nodeSelector") or {})
    labels = [node["metadata"].get("labels") or {} for node in nodes]
    if any(wanted.items() <= present.items() for present in labels):
        return ""
    missing = [f"{key}={value}" for key, value in sorted(wanted.items())]
    return f"no node has the labels of its nodeSelector: {', '.join(missing)}"


def _find_too_large(pod: _Object, nodes: Iterable[_Object]) -> Iterator[str]:
    """Yield which of the resources that the containers of a pod request together no node has."""
    from kubernetes.utils.quantity import parse_quantity

    resources = [container.get("resources") or {} for container in pod["containers"]]
    # A limit without a request is a request, too.
    requests = [{**(entry.get("limits") or {}), **(entry.get("requests") or {})} for entry in resources]
    for resource, (unit, size) in _UNITS.items():
        needs = sum(parse_quantity(request.get(resource, 0)) for request in requests)
        has = max(parse_quantity(node["status"]["allocatable"].get(resource, 0)) for node in nodes)
        if needs > has:
            yield f"a pod requests {float(needs / size):g} {unit}, and the largest node has {float(has / size):g}"
