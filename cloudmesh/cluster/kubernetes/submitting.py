"""How the objects of a job are made, once, though it be asked twice or cut off between.

The Job that stands for the whole is made first, and made to wait; all else is owned by it from the beginning, so that
nothing is ever left without it. It begins when everything is there. What was cut off before that is taken up by the
next submission of the same job.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.api import Submission, is_spark
from cloudmesh.cluster.errors import ApiError
from cloudmesh.cluster.jobs.model import Job
from cloudmesh.cluster.kubernetes import gang, jobs, pods, rest
from cloudmesh.cluster.kubernetes.access import ConflictError, asked
from cloudmesh.cluster.kubernetes.turns import ALONE, Turn

if TYPE_CHECKING:
    from kubernetes import client

_SECRET_BYTES = 32
_BELONGING = {"Job": rest.JOBS, "Secret": rest.SECRETS, "Service": rest.SERVICES}


def objects(submission: Submission[Job], token: str, turn: Turn = ALONE) -> list[dict[str, Any]]:
    """Return all that a job consists of, the Job that stands for it first. Pure.

    Args:
        submission: the job.
        token: a secret that its tasks share.
        turn: when it may begin, if it is Spark's.
    """
    if is_spark(submission):
        return [jobs.spark_job(submission, turn), *pods.secrets(submission, {pods.SECRET: token})]
    return gang.objects(submission, token)


def shown(submission: Submission[Job]) -> dict[str, Any]:
    """Return what a job consists of without what is secret. Pure."""
    items = [each for each in objects(submission, "") if each["kind"] != "Secret"]
    return items[0] if len(items) == 1 else {"apiVersion": "v1", "kind": "List", "items": items}


class Objects:
    """Makes the objects of a job.

    Args:
        its: the client.
        submission: the job.
        turn: when it may begin, if it is Spark's.
    """

    def __init__(self, its: client.ApiClient, submission: Submission[Job], turn: Turn) -> None:
        self._its = its
        self._first, *self._others = objects(submission, random.token_urlsafe(_SECRET_BYTES), turn)

    def begun(self) -> dict[str, Any]:
        """Make the Job that stands for the job, and return it."""
        return self._made(self._first)

    def completed(self, job: Mapping[str, Any]) -> None:
        """Make what is missing, and let the job begin."""
        if not job["spec"].get("suspend"):
            return
        for thing in self._others:
            self._made_once({**thing, "metadata": {**thing["metadata"], "ownerReferences": _owners(job)}})
        asked(self._its, rest.JOBS.patch(job["metadata"]["name"], {"spec": {"suspend": False}}))

    def _made_once(self, thing: dict[str, Any]) -> None:
        try:
            self._made(thing)
        except ConflictError as error:
            name = thing["metadata"]["name"]
            found = asked(self._its, _BELONGING[thing["kind"]].read(name))
            owners: Sequence[Mapping[str, Any]] = found["metadata"].get("ownerReferences", [])
            if thing["metadata"]["ownerReferences"][0]["uid"] not in [owner["uid"] for owner in owners]:
                raise ApiError(f"there is a {thing['kind']} called {name} that is not this job's") from error

    def _made(self, thing: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = asked(self._its, _BELONGING[thing["kind"]].create(thing, strict=True))
        return made


def _owners(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    its = job["metadata"]
    return [{"apiVersion": "batch/v1", "kind": "Job", "name": its["name"], "uid": its["uid"]}]
