"""Creates the Kubernetes objects of a job so that it runs exactly once, even if submission is repeated or interrupted.

The root Job, the Job that has the name of the job, is created first and is suspended. All other objects are owned by
it, so that Kubernetes deletes them with it. When all of them exist, the root Job is started. If a submission was
interrupted before that, the next submission of the same job creates what is missing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.providers.base import Submission, is_spark
from cloudmesh.cluster.providers.kubernetes import indexed_jobs, pod_spec, requests, spark_job
from cloudmesh.cluster.providers.kubernetes.api_client import ConflictError, call
from cloudmesh.cluster.providers.kubernetes.driver_admission import ALONE, Admission
from cloudmesh.cluster.spec.job import JobSpec

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


_SECRET_BYTES = 32
_COLLECTIONS = {"Job": requests.JOBS, "Secret": requests.SECRETS, "Service": requests.SERVICES}


def job_objects(submission: Submission[JobSpec], token: str, admission: Admission = ALONE) -> list[dict[str, Any]]:
    """Return all Kubernetes objects of a job, its root Job first.

    Args:
        submission: the job.
        token: the secret that the tasks of the job share.
        admission: when and where the driver of a Spark job may start; other jobs ignore it.
    """
    if is_spark(submission):
        root = spark_job.build_spark_job(submission, admission)
        return [root, *pod_spec.build_secrets(submission, {pod_spec.SECRET: token}, submission.job.env)]
    return indexed_jobs.build_objects(submission, token)


def without_secrets(submission: Submission[JobSpec]) -> dict[str, Any]:
    """Return the objects of a job, except its Secrets, as one object: the root Job, or a List if there are several."""
    items = [manifest for manifest in job_objects(submission, "") if manifest["kind"] != "Secret"]
    return items[0] if len(items) == 1 else {"apiVersion": "v1", "kind": "List", "items": items}


class JobObjects:
    """The objects of one submission.

    Args:
        client: the API client.
        submission: the job.
        admission: when and where the driver of a Spark job may start.
    """

    def __init__(self, client: ApiClient, submission: Submission[JobSpec], admission: Admission) -> None:
        self._client = client
        self._root, *self._others = job_objects(submission, secrets.token_urlsafe(_SECRET_BYTES), admission)

    def create_root(self) -> dict[str, Any]:
        """Create the root Job, suspended, and return it as the API server stored it."""
        return self._create(self._root)

    def create_rest_and_start(self, root: Mapping[str, Any]) -> None:
        """Create the objects that are missing and start the job; do nothing if it has been started before.

        Args:
            root: the root Job as the API server returned it.

        Raises:
            ApiError: an object of another owner has a name that this job needs.
        """
        if not root["spec"].get("suspend"):
            return
        name, uid = root["metadata"]["name"], root["metadata"]["uid"]
        owners = [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}]
        for manifest in self._others:
            self._create_if_missing({**manifest, "metadata": {**manifest["metadata"], "ownerReferences": owners}}, uid)
        call(self._client, requests.JOBS.patch(name, {"spec": {"suspend": False}}))

    def _create_if_missing(self, manifest: dict[str, Any], root_uid: str) -> None:
        try:
            self._create(manifest)
        except ConflictError as error:
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            existing = call(self._client, _COLLECTIONS[kind].read(name))
            if root_uid not in [owner["uid"] for owner in existing["metadata"].get("ownerReferences", [])]:
                raise ApiError(f"there is a {kind} called {name} that is not this job's") from error

    def _create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        created: dict[str, Any] = call(self._client, _COLLECTIONS[manifest["kind"]].create(manifest, strict=True))
        return created
