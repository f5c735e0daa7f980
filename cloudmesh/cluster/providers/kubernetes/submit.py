"""How the objects of a job are made, once, though it be asked twice or cut off between.

The Job that stands for the whole is made first, and made to wait; all else is owned by it from the beginning, so that
nothing is ever left without it. It begins when everything is there. What was cut off before that is taken up by the
next submission of the same job.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.providers.base import Submission, is_spark
from cloudmesh.cluster.providers.kubernetes import indexed_jobs, pod_spec, requests, spark_job
from cloudmesh.cluster.providers.kubernetes.api_client import ConflictError, call
from cloudmesh.cluster.providers.kubernetes.driver_admission import ALONE, Admission
from cloudmesh.cluster.spec.job import JobSpec

if TYPE_CHECKING:
    from kubernetes import client


_SECRET_BYTES = 32
_BELONGING = {"Job": requests.JOBS, "Secret": requests.SECRETS, "Service": requests.SERVICES}


def job_objects(submission: Submission[JobSpec], token: str, turn: Admission = ALONE) -> list[dict[str, Any]]:
    """Return all that a job consists of, the Job that stands for it first. Pure.

    Args:
        submission: the job.
        token: a secret that its tasks share.
        turn: when it may begin, if it is Spark's.
    """
    if is_spark(submission):
        return [
            spark_job.build_spark_job(submission, turn),
            *pod_spec.build_secrets(submission, {pod_spec.SECRET: token}),
        ]
    return indexed_jobs.build_objects(submission, token)


def without_secrets(submission: Submission[JobSpec]) -> dict[str, Any]:
    """Return what a job consists of without what is secret. Pure."""
    items = [each for each in job_objects(submission, "") if each["kind"] != "Secret"]
    return items[0] if len(items) == 1 else {"apiVersion": "v1", "kind": "List", "items": items}


class JobObjects:
    """Makes the objects of a job.

    Args:
        its: the client.
        submission: the job.
        turn: when it may begin, if it is Spark's.
    """

    def __init__(self, its: client.ApiClient, submission: Submission[JobSpec], turn: Admission) -> None:
        self._its = its
        self._first, *self._others = job_objects(submission, random.token_urlsafe(_SECRET_BYTES), turn)

    def begun(self) -> dict[str, Any]:
        """Make the Job that stands for the job, and return it."""
        return self._made(self._first)

    def completed(self, job: Mapping[str, Any]) -> None:
        """Make what is missing, and let the job begin."""
        if not job["spec"].get("suspend"):
            return
        for thing in self._others:
            self._made_once({**thing, "metadata": {**thing["metadata"], "ownerReferences": _owners(job)}})
        call(self._its, requests.JOBS.patch(job["metadata"]["name"], {"spec": {"suspend": False}}))

    def _made_once(self, thing: dict[str, Any]) -> None:
        try:
            self._made(thing)
        except ConflictError as error:
            name = thing["metadata"]["name"]
            found = call(self._its, _BELONGING[thing["kind"]].read(name))
            owners: Sequence[Mapping[str, Any]] = found["metadata"].get("ownerReferences", [])
            if thing["metadata"]["ownerReferences"][0]["uid"] not in [owner["uid"] for owner in owners]:
                raise ApiError(f"there is a {thing['kind']} called {name} that is not this job's") from error

    def _made(self, thing: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = call(self._its, _BELONGING[thing["kind"]].create(thing, strict=True))
        return made


def _owners(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    its = job["metadata"]
    return [{"apiVersion": "batch/v1", "kind": "Job", "name": its["name"], "uid": its["uid"]}]
