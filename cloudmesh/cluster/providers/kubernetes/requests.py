"""Builds the HTTP requests to the API of Kubernetes; `api_client.call` sends them.

The classes of the `kubernetes` client that build the same requests take as long to import as everything else that a
command does, so that they are not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from cloudmesh.cluster.providers.kubernetes.pod_spec import JOBS_NAMESPACE

_JSON = "application/json"
# Lists are merged by the keys of their items, and null removes a field.
_STRATEGIC_MERGE = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Request(NamedTuple):
    """A request to the API.

    Attributes:
        method: "GET".
        target: path and query, quoted.
        body: what is sent as JSON; None: nothing.
        content_type: the media type of the body.
        byte_range: which bytes of a file are asked for, as the header Range has it; empty: all.
        accept: the media type of the answer.
    """

    method: str
    target: str
    body: object = None
    content_type: str = ""
    byte_range: str = ""
    accept: str = _JSON

    def with_options(self, **options: str | int) -> Request:
        """Return the request with more parameters in its query."""
        return self._replace(target=f"{self.target}{'&' if '?' in self.target else '?'}{urlencode(options)}")


class Collection(NamedTuple):
    """The objects of one kind, of the whole cluster or of one namespace.

    Attributes:
        path: where they are: "/api/v1/nodes".
    """

    path: str

    def list(self, *, labels: str = "", fields: str = "") -> Request:
        """List the objects that match both selectors; `kubectl get --help` explains how these are written.

        `api_client.list_all` sends it, page by page.
        """
        return Request("GET", self.path + _build_selectors(labels, fields))

    def read(self, name: str) -> Request:
        """Read one object."""
        return Request("GET", self._path_of(name))

    def create(self, manifest: Mapping[str, Any], *, strict: bool = False) -> Request:
        """Create an object that does not exist yet; with `strict`, unknown fields are refused and not dropped."""
        query = _build_query({"fieldValidation": "Strict"} if strict else {})
        return Request("POST", self.path + query, manifest, _JSON)

    def evict(self, name: str) -> Request:
        """Evict a pod from its node."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return Request("POST", f"{self._path_of(name)}/eviction", body, _JSON)

    def replace(self, name: str, manifest: Mapping[str, Any]) -> Request:
        """Replace an existing object."""
        return Request("PUT", self._path_of(name), manifest, _JSON)

    def patch(self, name: str, changes: Mapping[str, Any]) -> Request:
        """Change some fields of an existing object."""
        return Request("PATCH", self._path_of(name), changes, _STRATEGIC_MERGE)

    def apply(self, name: str, manifest: Mapping[str, Any], **options: str) -> Request:
        """Create an object or change the existing one to `manifest`; `options` are the parameters of the query."""
        return Request("PATCH", self._path_of(name) + _build_query(options), manifest, _APPLY)

    def delete(self, name: str) -> Request:
        """Delete one object."""
        return Request("DELETE", self._path_of(name))

    def delete_all(self, *, labels: str, fields: str) -> Request:
        """Delete the objects that match both selectors."""
        return Request("DELETE", self.path + _build_selectors(labels, fields))

    def _path_of(self, name: str) -> str:
        return f"{self.path}/{quote(name, safe='')}"


def list_kinds(version: str) -> Request:
    """List the kinds in a version of the API ("v1", "batch/v1") and how their collections are called."""
    return Request("GET", _base_path(version))


def log_file(node: str, path: str, start: int = 0, end: int = 0) -> Request:
    """Read a file, or list a folder, below /var/log on the host of a node; the kubelet answers in HTML.

    Args:
        node: its name.
        path: of the file, or of the folder with a slash behind it.
        start: the first byte.
        end: behind the last byte; 0: all are read.
    """
    target = f"{_kubelet_path(node)}/logs/{quote(path)}"
    return Request("GET", target, byte_range=f"bytes={start}-{end - 1}" if end else "", accept="*/*")


def running_pods(node: str) -> Request:
    """List the pods of which containers run on the host of a node, and only these containers; its kubelet answers."""
    return Request("GET", f"{_kubelet_path(node)}/runningpods/")


def collection(version: str, plural: str, namespace: str = "") -> Collection:
    """Return a collection.

    Args:
        version: of the API: "v1", "batch/v1".
        plural: the name of the collection: "pods".
        namespace: only the objects of this namespace; empty: those of the whole cluster.
    """
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return Collection(f"{_base_path(version)}{within}/{plural}")


def _kubelet_path(node: str) -> str:
    """Return below what path the API passes requests on to the kubelet of a node."""
    return f"{_base_path('v1')}/nodes/{quote(node, safe='')}/proxy"


def _base_path(version: str) -> str:
    return f"/{'apis' if '/' in version else 'api'}/{version}"


def _build_selectors(labels: str, fields: str) -> str:
    selectors = {"labelSelector": labels, "fieldSelector": fields}
    return _build_query({name: value for name, value in selectors.items() if value})


def _build_query(options: Mapping[str, str | int | bool]) -> str:
    values = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    return f"?{urlencode(values)}" if values else ""


# Of the whole cluster.
NODES = collection("v1", "nodes")
# Each kubelet renews the one with its node's name every ten seconds.
NODE_LEASES = collection("coordination.k8s.io/v1", "leases", "kube-node-lease")
VOLUMES = collection("v1", "persistentvolumes")
API_SERVERS = collection("discovery.k8s.io/v1", "endpointslices", "default")
ALL_PODS = collection("v1", "pods")
# Of the namespace of the jobs.
JOBS = collection("batch/v1", "jobs", JOBS_NAMESPACE)
PODS = collection("v1", "pods", JOBS_NAMESPACE)
SECRETS = collection("v1", "secrets", JOBS_NAMESPACE)
SERVICES = collection("v1", "services", JOBS_NAMESPACE)
CLAIMS = collection("v1", "persistentvolumeclaims", JOBS_NAMESPACE)
