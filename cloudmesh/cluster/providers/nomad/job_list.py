"""All jobs of a cluster by a few requests, however many there are: by Nomad's lists, and not three for each job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudmesh.cluster.core import names
from cloudmesh.cluster.core.errors import NotFoundError
from cloudmesh.cluster.providers.nomad.api_client import RawRequests, call
from cloudmesh.cluster.providers.nomad.job_spec import DIGEST, FIRST_GROUP, LEADERS

if TYPE_CHECKING:
    import nomad


_Object = dict[str, Any]


class ListedJob(NamedTuple):
    """A job with what Nomad has of it, as `status.job_status` takes it.

    Attributes:
        job: the job; of what /v1/job/ID has in addition, only its groups.
        allocations: of the job, and of no earlier job of the same id.
        evaluations: likewise.
    """

    job: Mapping[str, Any]
    allocations: list[_Object]
    evaluations: list[_Object]


def list_summaries(client: nomad.Nomad) -> list[_Object]:
    """Return the entries of Nomad's list of jobs, each with its "Meta"."""
    return RawRequests("jobs", client).list_all({"meta": "true"})


def list_jobs(client: nomad.Nomad) -> Iterator[ListedJob]:
    """Yield all jobs except those that Nomad derives from other jobs."""
    summaries = list_summaries(client)
    allocations = _group_by_job(RawRequests("allocations", client).list_all({"resources": "false"}))
    evaluations = _group_by_job(RawRequests("evaluations", client).list_all({}))
    for summary in summaries:
        job_id = summary["ID"]
        # An id that is no label is not one of ours, and would mean something else in a URL.
        if names.is_label(job_id) and (job := _read_job(summary) or _find_job(client, job_id)):
            yield ListedJob(job, *(_since(job, entries[job_id]) for entries in (allocations, evaluations)))


def _read_job(summary: _Object) -> _Object | None:
    """Return a job with its groups from its entry in the list; None where the entry does not tell them."""
    meta = summary.get("Meta") or {}
    if LEADERS in meta:
        task, count = meta[LEADERS].split()
        group = {"Name": meta[FIRST_GROUP], "Count": int(count), "Tasks": [{"Name": task}]}
        return {**summary, "TaskGroups": [group]}
    # The entry of a job that was changed also has groups that it has no more.
    if DIGEST in meta or summary["JobModifyIndex"] != summary["CreateIndex"]:
        return None
    groups = (summary.get("JobSummary") or {}).get("Summary") or {}
    return {**summary, "Meta": meta, "TaskGroups": [{"Name": name} for name in groups]}


def _find_job(client: nomad.Nomad, job_id: str) -> _Object | None:
    try:
        job: _Object = call(lambda: client.job.get_job(job_id))
    except NotFoundError:  # it has gone since
        return None
    return job


def _group_by_job(entries: list[_Object]) -> defaultdict[str, list[_Object]]:
    groups: defaultdict[str, list[_Object]] = defaultdict(list)
    for entry in entries:
        groups[entry["JobID"]].append(entry)
    return groups


def _since(job: Mapping[str, Any], entries: list[_Object]) -> list[_Object]:
    """Return the entries that are not of an earlier job of the same id."""
    return [entry for entry in entries if entry["CreateIndex"] >= job["CreateIndex"]]
