"""Nomad's REST API, by python-nomad; the only importer of it, and the place where its errors are mapped."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import nomad
import requests
from nomad.api.exceptions import BaseNomadException, URLNotFoundNomadException

from cloudmesh.cluster import placement
from cloudmesh.cluster.api import Chunk, Submission
from cloudmesh.cluster.errors import ApiError, ClusterError, NotFoundError
from cloudmesh.cluster.model import JobStatus, Node
from cloudmesh.cluster.nomad import config, jobs, status

if TYPE_CHECKING:
    from cloudmesh.cluster.hosts.ssh import Connection

T = TypeVar("T")

_TIMEOUT_SECONDS = 15
_TRIES, _PAUSE_SECONDS = 3, 1.0
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.4
_SECRET_BYTES = 32
# A deadline would end the drivers, and Nomad would run them a second time elsewhere.
_DRAIN_WITHOUT_END = {"Deadline": 0, "IgnoreSystemJobs": False}


@contextmanager
def connected(server: Connection, token: str) -> Iterator[NomadApi]:
    """Yield the API of the cluster that `server` belongs to, reached through SSH."""
    with server.forward("127.0.0.1", config.HTTP_PORT) as tunnel, requests.Session() as session:
        # A proxy of the operator's environment has no business with a tunnel.
        session.trust_env = False
        yield NomadApi(
            nomad.Nomad(
                address=f"http://127.0.0.1:{tunnel.port}", token=token, timeout=_TIMEOUT_SECONDS, session=session
            )
        )


class NomadApi:
    """See `cloudmesh.cluster.api.Api`."""

    def __init__(self, client: nomad.Nomad) -> None:
        self._client = client

    def nodes(self) -> tuple[Node, ...]:
        """Return every host that Nomad knows, with what its jobs leave free."""
        stubs = _asked(lambda: self._client.nodes.get_nodes(resources=True))
        running = _asked(lambda: self._client.allocations.get_allocations(resources=True, task_states=False))
        servers = self._servers()
        full = [_asked(partial(self._client.node.get_node, stub["ID"])) for stub in stubs]
        return tuple(sorted((status.node(each, running, servers) for each in full), key=lambda node: node.name))

    def drain(self, node: Node, seconds: float) -> None:
        """Send `node` no more jobs, move their workers elsewhere, and wait for the drivers, which cannot move."""
        _asked(lambda: self._client.node.drain_node_with_spec(node.id, drain_spec=_DRAIN_WITHOUT_END))
        deadline = time.monotonic() + seconds
        moved: set[str] = set()
        while live := [each for each in self._on(node) if each["ClientStatus"] in ("pending", "running")]:
            for each in live:
                # By itself, Nomad leaves a batch job's tasks where they are; Spark goes on without one worker.
                if each["TaskGroup"] == jobs.WORKERS and each["ID"] not in moved:
                    _asked(partial(self._client.allocation.stop_allocation, each["ID"]))
                    moved.add(each["ID"])
            if time.monotonic() > deadline:
                _asked(lambda: self._client.node.drain_node_with_spec(node.id, drain_spec=None, mark_eligible=True))
                ids = ", ".join(sorted({str(each["JobID"]) for each in live}))
                raise ApiError(f"after {seconds:.0f} s these jobs still run on it: {ids}")
            time.sleep(_POLL_SECONDS)

    def forget(self, node: Node) -> None:
        """Strike `node` off Nomad's list."""
        _asked(lambda: self._client.node.purge_node(node.id))

    def specification(self, submission: Submission) -> Mapping[str, Any]:
        """Return the Nomad job."""
        return {"Job": jobs.spark_job(submission)}

    def obstacle(self, submission: Submission) -> str:
        """Return why no host could ever take a part of the job."""
        return placement.obstacle(*jobs.asks(submission.job), [node for node in self.nodes() if node.cores])

    def submit(self, submission: Submission) -> None:
        """Run the job once: the register call refuses to replace a job that is there."""
        found = self._found(submission.id)
        if found is None:
            self._grant(submission.id)
            body = {"Job": jobs.spark_job(submission), "EnforceIndex": True, "JobModifyIndex": 0}
            try:
                _asked(lambda: self._client.job.register_job(submission.id, body))
                return
            except ApiError:
                # The answer may have been lost after the job was taken, or another was quicker.
                found = self._found(submission.id)
                if found is None:
                    raise
        if found["Meta"].get(jobs.DIGEST) != submission.digest:
            raise ClusterError(f"job {submission.id} exists with another content: choose another --id")

    def jobs(self) -> tuple[JobStatus, ...]:
        """Return every job of ours that Nomad still knows, the newest first."""
        stubs = _asked(self._client.jobs.get_jobs)
        found = [self._status(stub["ID"]) for stub in stubs]
        return tuple(sorted((job for job in found if job), key=lambda job: job.submitted, reverse=True))

    def job(self, job_id: str) -> JobStatus:
        """Return one job with its tasks."""
        found = self._status(job_id)
        if found is None:
            raise NotFoundError(f"no job {job_id}: `cms cluster jobs` lists those there are")
        return found

    def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        """Yield the driver's output; with `follow`, until it ends. It is polled, so a leader change costs nothing."""
        offsets = {"stdout": 0, "stderr": 0}
        while True:
            current = _patiently(lambda: self.job(job_id))
            allocation = status.driver_allocation(self._allocations(job_id))
            if allocation:
                for stream, offset in offsets.items():
                    data = self._read(allocation, stream, offset)
                    offsets[stream] += len(data)
                    if data:
                        yield Chunk(stream, data)
            if current.state.ended or not follow:
                return
            time.sleep(_POLL_SECONDS)

    def stop(self, job_id: str) -> None:
        """End the job and all its tasks; of one that has ended, the workers that are left or still to come."""
        found = self._found(job_id)
        if found is None:
            raise NotFoundError(f"no job {job_id}: `cms cluster jobs` lists those there are")
        if not found["Stop"]:
            _asked(lambda: self._client.job.deregister_job(job_id, purge=False))

    def _servers(self) -> dict[str, str]:
        """Return the status of each server by its address."""
        peers = _asked(self._client.operator.get_configuration)["Servers"]
        voters = {peer["Address"].rpartition(":")[0] for peer in peers if peer["Voter"]}
        members = _asked(self._client.agent.get_members)["Members"]
        return {each["Addr"]: status.server(each["Status"], votes=each["Addr"] in voters) for each in members}

    def _read(self, allocation: str, stream: str, offset: int) -> bytes:
        params = {"task": jobs.DRIVER, "type": stream, "offset": offset, "origin": "start", "plain": True}
        try:
            response = _patiently(
                lambda: self._client.client.stream_logs.request(allocation, params=dict(params), method="get")
            )
        except NotFoundError:  # the task has not written anything yet
            return b""
        return bytes(response.content)

    def _grant(self, job_id: str) -> None:
        """Give the job a secret of its own, by which its parts know each other."""
        items = {"Items": {"spark": secrets.token_urlsafe(_SECRET_BYTES)}}
        _asked(lambda: self._client.variable.create_variable(jobs.variable_path(job_id), items))

    def _found(self, job_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = _asked(lambda: self._client.job.get_job(job_id))
        except NotFoundError:
            return None
        return found

    def _status(self, job_id: str) -> JobStatus | None:
        job = self._found(job_id)
        if job is None or jobs.DIGEST not in (job["Meta"] or {}):
            return None
        evaluations = _asked(lambda: self._client.job.get_evaluations(job_id))
        return status.job(job, self._allocations(job_id), evaluations, time.time())

    def _allocations(self, job_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _asked(lambda: self._client.job.get_allocations(job_id, all_=True))
        return found

    def _on(self, node: Node) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _asked(lambda: self._client.node.get_allocations(node.id))
        return found


def _asked(request: Callable[[], T]) -> T:
    """Return the request's answer; a server that has no leader yet, or is restarting, is asked again.

    Raises:
        NotFoundError: there is no such thing.
        ApiError: Nomad refused, or does not answer.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return request()
        except URLNotFoundNomadException as error:
            raise NotFoundError(_cause(error)) from error
        except (BaseNomadException, requests.RequestException, OSError) as error:
            if attempt == _TRIES or not _passing(error):
                raise ApiError(f"Nomad: {_cause(error)}") from error
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable")


def _patiently(request: Callable[[], T]) -> T:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return _asked(request)
        except ApiError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def _passing(error: Exception) -> bool:
    response = getattr(error, "nomad_resp", None)
    return not isinstance(response, requests.Response) or response.status_code >= 500


def _cause(error: Exception) -> str:
    response = getattr(error, "nomad_resp", None)
    if isinstance(response, requests.Response):
        return f"{response.text.strip() or response.reason} (HTTP {response.status_code})"
    return "no answer from its API"
