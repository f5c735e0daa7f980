"""The jobs that Kubernetes knows: told, followed and ended through its API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import NotFoundError
from cloudmesh.cluster.core.model import JobStatus
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kubernetes import logs, pod_spec, pod_status, requests, status
from cloudmesh.cluster.providers.kubernetes.api_client import call, call_with_retry
from cloudmesh.cluster.providers.kubernetes.logs import PodOutput
from cloudmesh.cluster.providers.kubernetes.pod_spec import EXECUTOR

if TYPE_CHECKING:
    from kubernetes import client


UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
_Objects = list[dict[str, Any]]
_POLL_SECONDS = 0.4
_NEW_TASKS_SECONDS = 1.0


class JobStore:
    """The jobs in our namespace.

    Args:
        its: the client.
    """

    def __init__(self, its: client.ApiClient) -> None:
        self._its = its

    def find(self, job_id: str) -> dict[str, Any] | None:
        """Return the Job that stands for a job; None where there is none."""
        try:
            found: dict[str, Any] = call(self._its, requests.JOBS.read(job_id))
        except NotFoundError:
            return None
        return None if status.is_additional(found) else found

    def first(self, job_id: str) -> dict[str, Any]:
        """Return the Job that stands for a job; NotFoundError where there is none."""
        found = self.find(job_id)
        if found is None:
            raise NotFoundError(f"no job {job_id}: `cms cluster jobs` lists those there are")
        return found

    def told(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""
        first, *others = self._parts(job_id)
        return status.job_status(first, self.pods(job_id), time.time(), others)

    def all(self) -> tuple[JobStatus, ...]:
        """Return every job, the newest first."""
        told = (status.job_status(first, its, time.time(), others) for first, its, others in self._every())
        return tuple(sorted(told, key=lambda job: job.submitted, reverse=True))

    def pods(self, job_id: str) -> _Objects:
        """Return the pods of a job."""
        # A native job's pods have the label that Kubernetes gives them, those of ours have both.
        for label in (pod_spec.JOB, pod_status.NATIVE_JOB):
            found: _Objects = call(self._its, requests.PODS.list(labels=f"{label}={job_id}"))["items"]
            if found:
                return found
        return []

    def output(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        """Yield the output of driver or pods; with `follow`, until they end, and that of those that are tried next."""
        told: set[str] = set()
        followed = logs.FollowedPods()
        tasks = call_with_retry(lambda: self.first(job_id))["spec"].get("parallelism", 1)
        while True:
            ended = call_with_retry(lambda: self.told(job_id)).state.ended
            for name in [each for each in self._writing(job_id) if each not in told]:
                told.add(name)
                if follow:
                    followed.add(PodOutput(self._its, name))
                else:
                    yield from logs.read_written(PodOutput(self._its, name))
            # While there are tasks that do not write yet, they are looked for.
            yield from followed.chunks(None if followed.going >= tasks else _NEW_TASKS_SECONDS)
            if not follow or (ended and not followed.going):
                return
            if not followed.going:
                time.sleep(_POLL_SECONDS)

    def end(self, job_id: str) -> None:
        """End a job and all its tasks: its time is over, by which it is still told and later forgotten."""
        parts = self._parts(job_id)
        ended = self.told(job_id).state.ended
        self._end(parts, self.pods(job_id) if not all(map(status.has_finished, parts)) else [])
        if ended:
            selector = f"{pod_spec.JOB}={job_id},{pod_spec.ROLE}={EXECUTOR}"
            call(self._its, requests.PODS.delete_all(labels=selector, fields=UNFINISHED))
            self._take_secrets(job_id)

    def end_leftovers(self) -> None:
        """End what still goes on of jobs that have ended with nobody there, and jobs that can never begin."""
        ended = set()
        for first, its, others in self._every():
            now = time.time()
            if status.job_status(first, its, now, others).state.ended:
                self._end([first, *others], its)
                ended.add(first["metadata"]["name"])
            elif why := status.why_hopeless(first, its, now):
                self._end([first, *others], its, {pod_spec.HOPELESS: why})
        for job_id in ended & self._with_secrets() if ended else ():
            self._take_secrets(job_id)

    def placed(self, job_id: str) -> list[status.TaskPlacement]:
        """Return where the tasks of a job are or were."""
        return status.task_placements(self.first(job_id), self.pods(job_id))

    def has_failed(self, job_id: str) -> bool:
        """Return whether a part of a job has ended otherwise than well."""
        return any(status.has_finished(part) and not status.is_complete(part) for part in self._parts(job_id))

    def _writing(self, job_id: str) -> list[str]:
        its = call_with_retry(lambda: self.pods(job_id))
        return [pod["metadata"]["name"] for pod in status.leading_pods(its) if pod_status.has_started(pod)]

    def _end(
        self, parts: Sequence[Mapping[str, Any]], its: _Objects, kept: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """End what goes on of the parts of a job, its first one in front; `kept` are annotations of that one."""
        unfinished = [part for part in parts if not status.has_finished(part)]
        if unfinished:
            # The pods go with it; where they were is kept, as they may have left results there.
            placed = json.dumps(status.task_placements(parts[0], its))
            self._patch(parts[0], {"metadata": {"annotations": {pod_spec.PLACED: placed, **kept}}})
        for part in unfinished:
            spec = {"suspend": False, "activeDeadlineSeconds": 1}
            self._patch(part, {"metadata": {"annotations": {pod_spec.STOPPED: "true"}}, "spec": spec})

    def _with_secrets(self) -> set[str]:
        """Return the ids of the jobs that have variables that are secrets."""
        found = call(self._its, requests.SECRETS.list(labels=pod_spec.JOB))["items"]
        return {
            job_id
            for each in found
            if each["metadata"]["name"]
            == pod_spec.variables_secret_name(job_id := pod_status.label(each, pod_spec.JOB))
        }

    def _take_secrets(self, job_id: str) -> None:
        """Delete the variables that are secrets of a job that has ended."""
        with suppress(NotFoundError):
            call(self._its, requests.SECRETS.delete(pod_spec.variables_secret_name(job_id)))

    def _patch(self, job: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        call(self._its, requests.JOBS.patch(job["metadata"]["name"], body))

    def _parts(self, job_id: str) -> _Objects:
        """Return the Jobs of a job, the one that stands for it first."""
        first = self.first(job_id)
        if not pod_status.label(first, pod_spec.PART):
            return [first]
        found = call(self._its, requests.JOBS.list(labels=f"{pod_spec.JOB}={job_id}"))["items"]
        return [first, *filter(status.is_additional, found)]

    def _every(self) -> Iterator[tuple[dict[str, Any], _Objects, _Objects]]:
        """Yield for each job the Job that stands for it, its pods, and the Jobs of its other parts."""
        every = call(self._its, requests.JOBS.list())["items"]
        its = _grouped(call(self._its, requests.PODS.list())["items"], pod_status.job_of)
        others = _grouped(filter(status.is_additional, every), pod_status.job_of)
        for first in every:
            if not status.is_additional(first):
                name = first["metadata"]["name"]
                yield first, its.get(name, []), others.get(name, [])


def _grouped(things: Iterable[dict[str, Any]], key: Callable[[Mapping[str, Any]], str]) -> dict[str, _Objects]:
    found: dict[str, _Objects] = {}
    for each in things:
        found.setdefault(key(each), []).append(each)
    return found
