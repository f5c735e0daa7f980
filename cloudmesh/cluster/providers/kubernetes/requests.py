"""What is asked of the API of Kubernetes, as HTTP says it. Pure; `access.py` sends it.

The typed classes of the `kubernetes` client say the same, but to import them takes as long as all else of a command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from cloudmesh.cluster.providers.kubernetes.pod_spec import JOBS_NAMESPACE

_JSON = "application/json"
# Lists are merged by their items' keys, and null takes a field away.
_STRATEGIC_MERGE = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Request(NamedTuple):
    """A request to the API.

    Attributes:
        method: "GET".
        target: path and query, quoted.
        body: what is sent, as JSON; None for nothing.
        content_type: what the body means.
    """

    method: str
    target: str
    body: object = None
    content_type: str = ""


class Collection(NamedTuple):
    """The objects of one kind, all or those of a namespace.

    Attributes:
        path: where they are: "/api/v1/nodes".
    """

    path: str

    def list(self, *, labels: str = "", fields: str = "") -> Request:
        """Ask for those that have the labels and the fields; see `kubectl get --help` for how both are written."""
        return Request("GET", self.path + _selection(labels, fields))

    def read(self, name: str) -> Request:
        """Ask for one."""
        return Request("GET", self._one(name))

    def log(self, name: str, **options: str | int | bool) -> Request:
        """Ask for the output of a pod; `options` are the query's."""
        return Request("GET", f"{self._one(name)}/log{_query(options)}")

    def create(self, thing: Mapping[str, Any], *, strict: bool = False) -> Request:
        """Make one that is not there yet; with `strict`, unknown fields are refused instead of dropped."""
        return Request("POST", self.path + _query({"fieldValidation": "Strict"} if strict else {}), thing, _JSON)

    def evict(self, name: str) -> Request:
        """Have a pod moved away."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return Request("POST", f"{self._one(name)}/eviction", body, _JSON)

    def replace(self, name: str, thing: Mapping[str, Any]) -> Request:
        """Put another in the place of one that is there."""
        return Request("PUT", self._one(name), thing, _JSON)

    def patch(self, name: str, changes: Mapping[str, Any]) -> Request:
        """Change some fields of one that is there."""
        return Request("PATCH", self._one(name), changes, _STRATEGIC_MERGE)

    def apply(self, name: str, thing: Mapping[str, Any], **options: str) -> Request:
        """Have one be as `thing` says, whether it is there or not; `options` are the query's."""
        return Request("PATCH", self._one(name) + _query(options), thing, _APPLY)

    def delete(self, name: str) -> Request:
        """Delete one."""
        return Request("DELETE", self._one(name))

    def delete_all(self, *, labels: str, fields: str) -> Request:
        """Delete those that have the labels and the fields."""
        return Request("DELETE", self.path + _selection(labels, fields))

    def _one(self, name: str) -> str:
        return f"{self.path}/{quote(name, safe='')}"


def list_kinds(version: str) -> Request:
    """Ask what kinds there are in a version of the API ("v1", "batch/v1"), and where their objects are."""
    return Request("GET", _base(version))


def collection(version: str, plural: str, namespace: str = "") -> Collection:
    """Return the objects that are called `plural` in a version of the API; those of a namespace, if one is given."""
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return Collection(f"{_base(version)}{within}/{plural}")


def _base(version: str) -> str:
    return f"/{'apis' if '/' in version else 'api'}/{version}"


def _selection(labels: str, fields: str) -> str:
    given = {"labelSelector": labels, "fieldSelector": fields}
    return _query({name: value for name, value in given.items() if value})


def _query(options: Mapping[str, str | int | bool]) -> str:
    said = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    return f"?{urlencode(said)}" if said else ""


NODES = collection("v1", "nodes")
VOLUMES = collection("v1", "persistentvolumes")
ALL_PODS = collection("v1", "pods")
# Of the namespace that has the jobs.
JOBS = collection("batch/v1", "jobs", JOBS_NAMESPACE)
PODS = collection("v1", "pods", JOBS_NAMESPACE)
SECRETS = collection("v1", "secrets", JOBS_NAMESPACE)
SERVICES = collection("v1", "services", JOBS_NAMESPACE)
CLAIMS = collection("v1", "persistentvolumeclaims", JOBS_NAMESPACE)
