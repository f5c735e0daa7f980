"""How long Nomad keeps what is a job's: its secrets until it has ended, all else until its time to live is over."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Set
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from nomad.api.exceptions import VariableConflict

from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError
from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.nomad import job_spec, status
from cloudmesh.cluster.providers.nomad.api_client import RawRequests, call
from cloudmesh.cluster.providers.nomad.job_spec import DIGEST, TTL
from cloudmesh.cluster.spec.job import JobSpec

if TYPE_CHECKING:
    import nomad


_TOKEN_BYTES = 32
_DEFAULT_TTL = 86400
_ORPHAN_SECONDS = 3600


class JobSecrets:
    """What jobs of one cluster own.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client

    def grant(self, submission: Submission[JobSpec]) -> None:
        """Keep the job's secrets, and one by which its parts know each other; once, though two do it at a time."""
        path = job_spec.build_variable_path(submission.id)
        items = job_spec.build_variable_items(submission, secrets.token_urlsafe(_TOKEN_BYTES))
        create = self._client.variable.create_variable
        try:
            call(partial(create, path, {"Path": path, "Items": items}, cas=0))
        except ApiError as error:
            if not isinstance(error.__cause__, VariableConflict):
                raise
            # Its tasks may have read the one that is there.
            there = call(lambda: self._client.variable.get_variable(path))
            kept = {**items, job_spec.TOKEN: there["Items"][job_spec.TOKEN]}
            if kept != there["Items"]:
                call(partial(create, path, {"Path": path, "Items": kept}, cas=there["ModifyIndex"]))

    def token(self, job_id: str) -> str:
        """Return what the job's parts know each other by; NotFoundError where it has ended."""
        there = call(lambda: self._client.variable.get_variable(job_spec.build_variable_path(job_id)))
        return str(there["Items"][job_spec.TOKEN])

    def revoke(self, job_id: str) -> None:
        """Delete the job's secrets."""
        with suppress(NotFoundError):
            call(lambda: self._client.variable.delete_variable(job_spec.build_variable_path(job_id)))

    def expire(self, now: float) -> None:
        """Stop what is over but for parts that do not end, take the secrets of ended jobs, and forget those due.

        Args:
            now: seconds since the epoch.
        """
        listed = RawRequests("jobs", self._client).ask("get", params={"meta": "true"})
        ours = [each for each in listed if DIGEST in (each.get("Meta") or {})]
        ended = [each for each in ours if each["Status"] == "dead"]
        for each in ours:
            if status.is_over(each):
                call(partial(self._client.job.deregister_job, each["ID"], purge=False))
        if not ended:
            return
        prefix = job_spec.build_variable_path("")
        variables = call(lambda: self._client.variables.get_variables(prefix=prefix))
        with_secrets = {each["Path"].removeprefix(prefix): each["ModifyTime"] / 1e9 for each in variables}
        self._revoke_orphans(with_secrets, {each["ID"] for each in listed}, now)
        for each in ended:
            if each["ID"] in with_secrets:
                self.revoke(each["ID"])
            # No job ends before it is submitted: most need no closer look.
            if each["SubmitTime"] / 1e9 + _ttl(each) <= now and self._ended(each["ID"]) + _ttl(each) <= now:
                with suppress(NotFoundError):
                    self._forget(each["ID"])

    def _revoke_orphans(self, with_secrets: Mapping[str, float], jobs: Set[str], now: float) -> None:
        """Take the secrets of jobs that were never submitted; one that is about to be is given its time."""
        for job_id, since in with_secrets.items():
            if job_id not in jobs and since + _ORPHAN_SECONDS < now:
                self.revoke(job_id)

    def _ended(self, job_id: str) -> float:
        allocations = self._allocations(job_id)
        return max((each["ModifyTime"] / 1e9 for each in allocations), default=0.0)

    def _forget(self, job_id: str) -> None:
        """Remove a job, and on its hosts what it has left."""
        for each in self._allocations(job_id):
            with suppress(ClusterError):  # its host is away, or has done so already
                call(partial(self._client.client.gc_allocation.garbage_collect, each["ID"]))
        # Another operator may have done so, and submitted one of the same id since.
        if call(lambda: self._client.job.get_job(job_id))["Status"] == "dead":
            call(lambda: self._client.job.deregister_job(job_id, purge=True))

    def _allocations(self, job_id: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = call(lambda: self._client.job.get_allocations(job_id))
        return found


def _ttl(stub: Mapping[str, Any]) -> float:
    return float(stub["Meta"].get(TTL, _DEFAULT_TTL))
