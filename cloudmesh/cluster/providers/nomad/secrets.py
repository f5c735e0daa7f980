"""What Nomad stores for a job, and until when: secrets until the job ends, all else until its time to live is over."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from nomad.api.exceptions import VariableConflict

from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.providers.base import Leftover, Submission
from cloudmesh.cluster.providers.nomad import job_list, job_spec, status
from cloudmesh.cluster.providers.nomad.api_client import call
from cloudmesh.cluster.providers.nomad.job_spec import DIGEST, TTL
from cloudmesh.cluster.spec.job import JobSpec

if TYPE_CHECKING:
    import nomad


_TOKEN_BYTES = 32
_DEFAULT_TTL_SECONDS = 86400
_ORPHAN_SECONDS = 3600
_CLAIM_SECONDS = 10.0  # from storing a job's secrets until the job is there
_PAUSE_SECONDS = 0.3
_NANOSECONDS = 1e9


class _ClaimedError(ApiError):
    """Another operator has stored the secrets of a job of this id, whose job is not there yet."""


class JobSecrets:
    """The secrets of a cluster's jobs, and the removal of jobs that nobody needs any more.

    A job's secrets are in a Nomad variable. They are the user's, and a token by which the job's tasks know each other.

    Args:
        client: of Nomad's API.
    """

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client

    def claim_id(self, submission: Submission[JobSpec], is_present: Callable[[], bool]) -> None:
        """Store the secrets of a job that is about to be submitted, unless another job has its id.

        Of several operators who want one id, Nomad lets one store secrets, and only that one submits a job: a job's
        EnforceIndex is compared before the job is written, so that two may pass it at once.

        Args:
            submission: the job.
            is_present: asks Nomad whether it has a job of this id.

        Raises:
            ApiError: Nomad has, or is about to have, another job of this id.
        """

        def claim() -> None:
            if _is_of(submission, self._store(submission)):
                return
            if is_present():
                raise ApiError(f"there is another job {submission.id}")
            raise _ClaimedError(f"another job {submission.id} is being submitted: try again")

        stored = self._store(submission)
        if _is_of(submission, stored):
            return
        try:
            retry(
                claim,
                lambda error: isinstance(error, _ClaimedError),
                seconds=_CLAIM_SECONDS,
                pause_seconds=_PAUSE_SECONDS,
            )
        except _ClaimedError:
            # An ended job has left them, or an operator who was cut off before the job was there.
            self._delete(submission.id, stored)
            claim()

    def store_secrets(self, submission: Submission[JobSpec]) -> None:
        """Make the secrets of a job that Nomad has those of its submission; its tasks wait until there are some.

        What is stored of the same submission stays, as the job's tasks may have read it.
        """
        stored = self._store(submission)
        if not _is_of(submission, stored):
            self._delete(submission.id, stored)
            self._store(submission)

    def _store(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        """Store a job's secrets where none are stored; return the variable that holds what is stored now."""
        path = job_spec.build_variable_path(submission.id)
        items = job_spec.build_variable_items(submission, secrets.token_urlsafe(_TOKEN_BYTES))

        def store() -> Mapping[str, Any]:
            variable = self._client.variable
            stored: Mapping[str, Any] = {}
            with _without_conflict():
                stored = call(lambda: variable.create_variable(path, {"Path": path, "Items": items}, cas=0))
            if not stored:
                stored = call(lambda: variable.get_variable(path))
            return stored

        # What was there may be deleted before it is read.
        return retry(store, lambda error: isinstance(error, NotFoundError), attempts=3, pause_seconds=_PAUSE_SECONDS)

    def _delete(self, job_id: str, stored: Mapping[str, Any]) -> None:
        """Delete a job's secrets, unless others have been stored since."""
        path = job_spec.build_variable_path(job_id)
        with _without_conflict(), suppress(NotFoundError):
            call(lambda: self._client.variable.delete_variable(path, cas=stored["ModifyIndex"]))

    def read_token(self, job_id: str) -> str:
        """Return the token by which the job's tasks know each other; NotFoundError where the job has ended."""
        variable = call(lambda: self._client.variable.get_variable(job_spec.build_variable_path(job_id)))
        return str(variable["Items"][job_spec.TOKEN])

    def delete_secrets(self, job_id: str) -> None:
        """Delete the job's secrets; nothing is done where there are none."""
        with suppress(NotFoundError):
            call(lambda: self._client.variable.delete_variable(job_spec.build_variable_path(job_id)))

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the jobs made of job files whose first group alone has ended, and ended ones that have secrets."""
        summaries = [summary for summary in job_list.list_summaries(self._client) if _is_from_job_file(summary)]
        ended = [summary["ID"] for summary in summaries if summary["Status"] == "dead"]
        with_secrets = self._list_secrets() if ended else ()
        for job_id in [summary["ID"] for summary in summaries if status.is_over(summary)]:
            yield Leftover(job_id)
        for job_id in ended:
            if job_id in with_secrets:
                yield Leftover(job_id)

    def forget_expired(self, now: float) -> None:
        """Remove jobs made of job files that ended longer ago than their time to live, with their results.

        The secrets of jobs that were never submitted go as well; a job that is about to be has an hour's time.

        Args:
            now: seconds since the epoch.
        """
        summaries = job_list.list_summaries(self._client)
        for summary in summaries:
            if not _is_from_job_file(summary) or summary["Status"] != "dead":
                continue
            job_id, ttl = summary["ID"], float(summary["Meta"].get(TTL, _DEFAULT_TTL_SECONDS))
            # No job ends before it is submitted, so that for most no further request is needed.
            if summary["SubmitTime"] / _NANOSECONDS + ttl <= now and self._find_end_time(job_id) + ttl <= now:
                with suppress(NotFoundError):
                    self._purge(job_id)
        job_ids = {summary["ID"] for summary in summaries}
        for job_id, stored_at in self._list_secrets().items():
            if job_id not in job_ids and stored_at + _ORPHAN_SECONDS < now:
                self.delete_secrets(job_id)

    def _list_secrets(self) -> dict[str, float]:
        """Return when the secrets of jobs were stored, in seconds since the epoch, by the id of their job."""
        prefix = job_spec.build_variable_path("")
        variables = call(lambda: self._client.variables.get_variables(prefix=prefix))
        return {variable["Path"].removeprefix(prefix): variable["ModifyTime"] / _NANOSECONDS for variable in variables}

    def _find_end_time(self, job_id: str) -> float:
        """Return when a job ended, in seconds since the epoch; 0 where it never had an allocation."""
        allocations = self._list_allocations(job_id)
        return max((allocation["ModifyTime"] / _NANOSECONDS for allocation in allocations), default=0.0)

    def _purge(self, job_id: str) -> None:
        """Remove a job, and on its hosts what it has left."""
        for allocation in self._list_allocations(job_id):
            with suppress(ClusterError):  # the host is away, or has removed the allocation already
                call(partial(self._client.client.gc_allocation.garbage_collect, allocation["ID"]))
        # Another operator may have removed the job, and submitted another of the same id since.
        if call(lambda: self._client.job.get_job(job_id))["Status"] == "dead":
            call(lambda: self._client.job.deregister_job(job_id, purge=True))

    def _list_allocations(self, job_id: str) -> list[Mapping[str, Any]]:
        allocations: list[Mapping[str, Any]] = call(lambda: self._client.job.get_allocations(job_id))
        return allocations


def _is_of(submission: Submission[JobSpec], stored: Mapping[str, Any]) -> bool:
    """Return whether a job's variable has the secrets of this submission."""
    return bool(stored["Items"].get(DIGEST) == submission.digest)


@contextmanager
def _without_conflict() -> Iterator[None]:
    """Do nothing about a variable that another operator was quicker with."""
    try:
        yield
    except ApiError as error:
        if not isinstance(error.__cause__, VariableConflict):
            raise


def _is_from_job_file(summary: Mapping[str, Any]) -> bool:
    """Return whether a job of Nomad's list was made of a job file."""
    return DIGEST in (summary.get("Meta") or {})
